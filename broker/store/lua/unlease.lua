-- Gives leases back so that another owner need not wait for them to run out. The token stays: the next owner's is higher.
-- KEYS: hash of leases, drawn in lease.lua   ARGV: owner, then the names
for n = 2, #ARGV do
  local owner, token = string.match(redis.call('HGET', KEYS[1], ARGV[n]) or '', '^(%S+) (%d+) %d+$')
  if owner == ARGV[1] then redis.call('HSET', KEYS[1], ARGV[n], owner .. ' ' .. token .. ' 0') end
end
return #ARGV - 1
