-- Discards dead letters of a subscription: the events are not delivered, unless a notification with them is
-- under way.
-- KEYS     subscription hash | dead letters | index of dead letters | counters of the shard
-- ARGV     member, then event numbers
-- Returns  how many there were
-- Repeat   yes
local key = {sub = KEYS[1], dead = KEYS[2], index = KEYS[3], counters = KEYS[4], member = ARGV[1]}
local held = redis.call('HMGET', key.sub, 'resend_ranges', 'notification')
local notification_type, last_event = notification_of(held[2])
local under_way = notification_type == 'resend' and last_event or 0
local first = tonumber(string.match(held[1] or '', '^(%d+)') or '0')
local discarded, numbers = 0, {}
for a = 2, #ARGV do
  local n = tonumber(ARGV[a])
  discarded = discarded + redis.call('ZREMRANGEBYSCORE', key.dead, n, n)
  if n < first or n > under_way then numbers[n] = true end
end
if discarded > 0 then
  if held[1] and held[1] ~= '' then
    redis.call('HSET', key.sub, 'resend_ranges', without(held[1], numbers))
  end
  count_dead_letters(key)
  count(key.counters, 'dead_letters_discarded', discarded)
end
return discarded
