-- Gives leases back so that another owner need not wait for them to run out. The token stays: the next owner's is higher.
-- KEYS: lease hashes   ARGV: owner
for _, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'owner') == ARGV[1] then redis.call('HSET', key, 'until', '0') end
end
return #KEYS
