-- Makes the handshake of a new registration due now, unless an attempt is under way: its client has received
-- the response.
-- KEYS     subscription hash | due set
-- ARGV     member, wakeup channel, shard
-- Returns  1
-- Repeat   yes
local held = redis.call('HMGET', KEYS[1], 'status', 'claim_state')
if held[1] == 'requested' and held[2] == '' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 1
