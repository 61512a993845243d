-- Records that a matcher is alive, and counts the matchers that are.
-- KEYS     sorted set owner -> moment until which it counts as alive
-- ARGV     owner, ms to live (0: the matcher stops)
-- Returns  how many are alive, the caller included unless it stops
-- Repeat   yes
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if ARGV[2] == '0' then redis.call('ZREM', KEYS[1], ARGV[1])
else redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[2])), ARGV[1]) end
return redis.call('ZCARD', KEYS[1])
