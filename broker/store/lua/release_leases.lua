-- Gives leases back, so that another owner need not wait until they run out. The next owner's token is higher
-- all the same.
-- KEYS     hash of leases: name -> `owner token until`
-- ARGV     owner, then the names
-- Returns  how many names were given
-- Repeat   yes
for n = 2, #ARGV do
  local owner, token = string.match(redis.call('HGET', KEYS[1], ARGV[n]) or '', '^(%S+) (%d+) %d+$')
  if owner == ARGV[1] then redis.call('HSET', KEYS[1], ARGV[n], owner .. ' ' .. token .. ' 0') end
end
return #ARGV - 1
