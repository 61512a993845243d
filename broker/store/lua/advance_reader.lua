-- Records how far the reader of a pull subscription has come. The cursor never moves back; other
-- subscriptions stay as they are.
-- KEYS     subscription hash | counters of the shard
-- ARGV     event number
-- Returns  1, or 0 for a subscription that is not pulled
-- Repeat   yes
local held = redis.call('HMGET', KEYS[1], 'is_pull', 'cursor', 'count')
if held[1] ~= '1' then return 0 end
local cursor, to = tonumber(held[2]), math.min(tonumber(ARGV[1]), tonumber(held[3]))
if to > cursor then
  redis.call('HSET', KEYS[1], 'cursor', whole(to))
  count(KEYS[2], 'events_delivered_correction', to - cursor)
end
return 1
