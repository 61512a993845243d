-- Counts the matchers that are alive, this one included.
-- KEYS: sorted set owner -> ms until   ARGV: owner, ms to live (0: goes away)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if ARGV[2] == '0' then redis.call('ZREM', KEYS[1], ARGV[1])
else redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1]) end
return redis.call('ZCARD', KEYS[1])
