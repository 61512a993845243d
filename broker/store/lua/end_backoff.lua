-- Makes a notification due now that waits for its next attempt after a failure.
-- KEYS     subscription hash | due set
-- ARGV     member, wakeup channel, shard
-- Returns  1, or 0 where no notification waits for its next attempt
-- Repeat   yes
if redis.call('HGET', KEYS[1], 'claim_state') ~= 'backoff' then return 0 end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
