-- Skips, after a rollback of the store, the event numbers that every subscription of a shard may have given
-- out before.
-- KEYS     tenants of the shard | fence hash | counters of the shard
-- ARGV     prefix of the sets of members, prefix of the subscription hashes, id of this rollback, margin,
--          then partition and the number of events known to have been numbered from it
-- Returns  {how many events are known to be forgotten, how many subscriptions skip numbers}; {-1, 0} if it
--          was done already
-- Repeat   yes, with the same id
-- Matchers know, for each of their partitions, how many events were numbered; no subscription of the shard
-- can have had more than all that were forgotten. The margin is for matchers that are gone. Each subscription
-- records a gap (gaps.lua) and keeps its status; claims from before the rollback are void.
if redis.call('HGET', KEYS[2], 'last_rollback') == ARGV[3] then return {-1, 0} end
local forgotten = 0
for a = 5, #ARGV, 2 do
  local field = 'numbered:' .. ARGV[a]
  local held, known = tonumber(redis.call('HGET', KEYS[2], field) or '0'), tonumber(ARGV[a + 1])
  if held < known then
    forgotten = forgotten + known - held
    redis.call('HSET', KEYS[2], field, ARGV[a + 1])
  end
end
redis.call('HSET', KEYS[2], 'last_rollback', ARGV[3])
count(KEYS[3], 'rollbacks', 1)
local by, subscriptions = forgotten + tonumber(ARGV[4]), 0
local now, time = now_ms(), redis.call('TIME')
for _, tenant in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  for _, id in ipairs(redis.call('ZRANGE', ARGV[1] .. tenant, 0, -1)) do
    local key = {sub = ARGV[2] .. tenant .. ':' .. id, counters = KEYS[3]}
    local held = redis.call('HMGET', key.sub, 'count', 'cursor', 'token', 'notification')
    subscriptions = subscriptions + 1
    if held[1] then
      local last, token = tonumber(held[1]), math.max(tonumber(held[3]) + 1, time[1] * 1000000 + time[2])
      record_gap(key, last + 1, last + by, 'rollback', now)
      local notification_type, last_event, pinned_at = notification_of(held[4])
      -- the moment of its first attempt stays
      pinned_at = pinned_at or moment_of(tonumber(held[3]))
      local notification = notification_text(notification_type, last_event, pinned_at)
      redis.call('HSET', key.sub, 'count', whole(last + by), 'token', whole(token),
        'notification', notification)
      count(key.counters, 'undelivered_correction', by)
      if held[2] == held[1] then pass_over(key, last, last + by) end
    end
  end
end
return {forgotten, subscriptions}
