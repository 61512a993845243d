-- Gaps: numbers of a subscription that no notification will carry. Needs base.lua and subscription.lua.
local MAX_GAPS = 32

-- Records the numbers from `low` to `high`, in `gaps` and in `gap_since`. Numbers that follow the last gap
-- for the same reason extend it; beyond MAX_GAPS the oldest gaps are forgotten. Returns the first and last
-- number of the gap.
local function record_gap(key, low, high, reason, now)
  local held = redis.call('HMGET', key.sub, 'gaps', 'gap_since')
  local gaps = {}
  for gap in string.gmatch(held[1] or '', '[^,]+') do gaps[#gaps + 1] = gap end
  local first, last, last_reason = string.match(gaps[#gaps] or '', '^(%d+)-(%d+):(%a+):')
  if last_reason == reason and tonumber(last) + 1 == low then
    gaps[#gaps] = nil
    low = tonumber(first)
  end
  gaps[#gaps + 1] = whole(low) .. '-' .. whole(high) .. ':' .. reason .. ':' .. whole(now)
  redis.call('HSET', key.sub, 'gaps', table.concat(gaps, ',', math.max(1, #gaps - MAX_GAPS + 1)))
  if not held[2] then
    redis.call('HSET', key.sub, 'gap_since', whole(now))
    count(key.counters, 'subscriptions_with_gaps', 1)
  end
  return whole(low), whole(high)
end

-- How many numbers above the cursor lie in gaps: they are counted, but no event waits under them.
local function numbers_without_event(key, cursor)
  local sum = 0
  for low, high in string.gmatch(redis.call('HGET', key.sub, 'gaps') or '', '(%d+)-(%d+):') do
    sum = sum + math.max(0, tonumber(high) - math.max(tonumber(low) - 1, cursor))
  end
  return sum
end

-- Gives up the events that wait in the outbox, up to number `last`. An active subscription to which the
-- broker sends goes to `error`, and an attempt under way loses its claim; any other keeps its status. Returns
-- the first and last number of the gap.
local function give_up(key, cursor, last, reason, now)
  redis.call('XTRIM', key.outbox, 'MINID', '=', whole(last + 1) .. '-0')
  local low, high = record_gap(key, cursor + 1, last, reason, now)
  pass_over(key, cursor, last)
  count(key.counters, 'events_given_up:' .. reason, last - cursor)
  local held = redis.call('HMGET', key.sub, 'status', 'ends', 'is_pull')
  if held[1] == 'active' and held[3] ~= '1' then
    cancel_notification(key)
    redis.call('HINCRBY', key.sub, 'token', 1)
    due_at_end(key, held[2])
    change_status(key, 'active', 'error')
  end
  return low, high
end

