-- Ends every lease, because all owners are gone. The next owner's token is higher all the same.
-- KEYS     hash of leases: name -> `owner token until`
-- ARGV     none
-- Returns  1
-- Repeat   yes
local all = redis.call('HGETALL', KEYS[1])
for n = 1, #all, 2 do
  local owner, token = string.match(all[n + 1], '^(%S+) (%d+) %d+$')
  redis.call('HSET', KEYS[1], all[n], owner .. ' ' .. token .. ' 0')
end
return 1
