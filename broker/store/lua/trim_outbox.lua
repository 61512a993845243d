-- Removes events older than the retention: delivered ones silently, those that still wait as a gap
-- (gaps.lua).
-- KEYS     subscription hash | outbox stream | due set | registry stream | counters of the shard
-- ARGV     member, horizon: the moment before which events are too old (ms), most entries to look at
-- Returns  {1 if there may be more, else 0; then first and last number of the gap, if events were given up}
-- Repeat   yes
local now = now_ms()
local horizon, max_entries = tonumber(ARGV[2]), tonumber(ARGV[3])
local key = {sub = KEYS[1], outbox = KEYS[2], due = KEYS[3], registry = KEYS[4], counters = KEYS[5],
  member = ARGV[1]}
local held = redis.call('HMGET', key.sub, 'cursor', 'gap_since')
if not held[1] then return {0} end
if held[2] and tonumber(held[2]) < horizon then
  redis.call('HDEL', key.sub, 'gap_since')
  count(key.counters, 'subscriptions_with_gaps', -1)
end
local old, seen, position, is_done = 0, 0, '-', false
while seen < max_entries and not is_done do
  local size = seen == 0 and 1 or math.min(500, max_entries - seen)
  local page = redis.call('XRANGE', key.outbox, position, '+', 'COUNT', size)
  is_done = #page == 0
  if is_done then break end
  for _, entry in ipairs(page) do
    is_done = cmsgpack.unpack(entry[2][2])[EVENT.AT] >= horizon
    if is_done then break end
    old, seen = entry_number(entry[1]), seen + 1
  end
  position = '(' .. whole(old) .. '-0'
end
if old == 0 then return {0} end
local has_more, cursor = is_done and 0 or 1, tonumber(held[1])
if old > cursor then return {has_more, give_up(key, cursor, old, 'age', now)} end
redis.call('XTRIM', key.outbox, 'MINID', '=', whole(old + 1) .. '-0')
return {has_more}
