-- Records that a matcher is alive, and counts the matchers that are.
-- KEYS     sorted set owner -> moment until which it counts as alive
-- ARGV     owner, ms to live (0: the matcher stops)
-- Returns  {alive, ms}: how many are alive, the caller included unless it stops, and when the first of the
--          others counts no longer (0: there is none)
-- Repeat   yes
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if ARGV[2] == '0' then redis.call('ZREM', KEYS[1], ARGV[1])
else redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[2])), ARGV[1]) end
local first_end = 0
local first = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
for n = 1, #first, 2 do
  if first[n] ~= ARGV[1] and first_end == 0 then first_end = tonumber(first[n + 1]) - now end
end
return {redis.call('ZCARD', KEYS[1]), first_end}
