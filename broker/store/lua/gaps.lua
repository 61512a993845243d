-- Shared by append_events.lua, trim_outbox.lua and jump.lua: numbers of a subscription that no notification will carry any more.
-- The subscription hash is drawn at the head of register.lua; `tell` is that of registry.lua.
local MOST_GAPS = 32

-- Notes the numbers from `low` to `high`: in `gaps`, and in `gt` since when there are some that its client has not
-- answered by asking for the subscription anew. Numbers that follow those noted last, for the same reason, make one gap with them; the oldest are forgotten.
local function note_gap(sub, low, high, why, now)
  local held = redis.call('HMGET', sub, 'gaps', 'gt')
  local gaps, at = {}, string.format('%.0f', now)
  for gap in string.gmatch(held[1] or '', '[^,]+') do gaps[#gaps + 1] = gap end
  local first, last, reason = string.match(gaps[#gaps] or '', '^(%d+)-(%d+):(%a+):')
  if reason == why and tonumber(last) + 1 == low then
    gaps[#gaps] = nil
    low = tonumber(first)
  end
  gaps[#gaps + 1] = string.format('%.0f-%.0f:%s:%s', low, high, why, at)
  redis.call('HSET', sub, 'gaps', table.concat(gaps, ',', math.max(1, #gaps - MOST_GAPS + 1)))
  if not held[2] then redis.call('HSET', sub, 'gt', at) end
  return {string.format('%.0f', low), string.format('%.0f', high)}
end

-- Numbers in gaps above the cursor: they are counted, and nothing waits under them.
local function numbers_without_event(sub, cursor)
  local sum = 0
  for low, high in string.gmatch(redis.call('HGET', sub, 'gaps') or '', '(%d+)-(%d+):') do
    sum = sum + math.max(0, tonumber(high) - math.max(tonumber(low) - 1, cursor))
  end
  return sum
end

-- Gives up what waits in the outbox up to number `upto`. A subscription that is sent to goes to `error`, and an attempt under
-- way loses its claim; one whose subscriber reads for itself, or whose handshake is under way, keeps its status.
-- key: member, sub, outbox, due, registry. Answers {first number given up, last}.
local function give_up(key, cursor, upto, why, now)
  redis.call('XTRIM', key.outbox, 'MINID', '=', string.format('%.0f-0', upto + 1))
  local told = note_gap(key.sub, cursor + 1, upto, why, now)
  redis.call('HSET', key.sub, 'cursor', string.format('%.0f', upto))
  local held = redis.call('HMGET', key.sub, 'st', 'end', 'pull')
  if held[1] == 'active' and held[3] ~= '1' then
    redis.call('HSET', key.sub, 'st', 'error', 'busy', '', 'kind', '', 'tries', '0', 'since', '0')
    redis.call('HINCRBY', key.sub, 'token', 1)
    if tonumber(held[2] or '0') > 0 then redis.call('ZADD', key.due, held[2], key.member)
    else redis.call('ZREM', key.due, key.member) end
    tell(key.registry, key.member, 'put')
  end
  return told
end

