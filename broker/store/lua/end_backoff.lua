-- Makes a subscription due now that waits for the next attempt after a failure.
-- KEYS     subscription hash | due set
-- ARGV     member, wakeup channel, shard
-- Returns  1
-- Repeat   yes
if redis.call('HGET', KEYS[1], 'claim_state') == 'backoff' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 1
