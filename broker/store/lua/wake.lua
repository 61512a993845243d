-- The answer to a registration has left: its handshake is due now, unless an attempt is under way already.
-- KEYS: subscription hash | due set   ARGV: member, wake channel, shard
local held = redis.call('HMGET', KEYS[1], 'st', 'busy')
if held[1] == 'requested' and held[2] == '' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 1
