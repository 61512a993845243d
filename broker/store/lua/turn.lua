-- Shared by claim.lua and commit.lua, after registry.lua: what a subscription needs now, and when to look at it next.
-- The subscription hash is drawn at the head of register.lua.
local FIELDS = {'st', 'count', 'cursor', 'max', 'hb', 'end', 'kind', 'upto', 'at', 'tries', 'since', 'last', 'token', 'v',
  'full', 'pinv', 'pull', 'q', 'again', 'skip', 'unbuilt', 'done', 'busy'}

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(n) return string.format('%.0f', n) end

local function load(sub)
  local values, s = redis.call('HMGET', sub, unpack(FIELDS)), {}
  if not values[1] then return nil end
  for n, name in ipairs(FIELDS) do s[name] = values[n] or '' end
  for _, name in ipairs({'count', 'cursor', 'max', 'hb', 'end', 'tries', 'since', 'last', 'token'}) do
    s[name] = tonumber(s[name]) or 0
  end
  return s
end

-- Nothing to send now: due at the next heartbeat or at `end`, whichever is first; answers that time or 0.
local function rest(key, s)
  local at = 0
  if s.st == 'active' and s.hb > 0 and s.pull ~= '1' then at = s.last + s.hb end
  if s['end'] > 0 and s.st ~= 'off' and (at == 0 or s['end'] < at) then at = s['end'] end
  redis.call('HSET', key.sub, 'busy', '', 'kind', '', 'tries', '0', 'since', '0')
  if at == 0 then redis.call('ZREM', key.due, key.member) else redis.call('ZADD', key.due, whole(at), key.member) end
  return at
end

-- The entries up to the first gap in their numbers: a notification of k events with count n is of n-k+1 to n (R-275).
local function without_gap(entries)
  local first = #entries > 0 and tonumber(string.match(entries[1][1], '^(%d+)'))
  if not first or tonumber(string.match(entries[#entries][1], '^(%d+)')) - first == #entries - 1 then return entries end
  local run = {}
  for n, entry in ipairs(entries) do
    if tonumber(string.match(entry[1], '^(%d+)')) ~= first + n - 1 then break end
    run[n] = entry
  end
  return run
end

-- Events from `first` to `last` that fit one notification: up to `max`, and up to `max_bytes` of resources (always one).
local function fitting_events(key, s, first, last, is_pinned, max_bytes)
  local entries = redis.call('XRANGE', key.outbox, first .. '-0', last, 'COUNT', is_pinned and 100000 or math.max(s.max, 1))
  if not is_pinned then entries = without_gap(entries) end
  if is_pinned or s.full ~= '1' then return entries end
  local bytes, fitting = 0, {}
  for n, entry in ipairs(entries) do
    for f = 1, #entry[2], 2 do
      if entry[2][f] == 'n' then bytes = bytes + tonumber(entry[2][f + 1]) end
    end
    if n > 1 and bytes > max_bytes then break end
    fitting[n] = entry
  end
  return fitting
end

-- What is left of the ranges to send again once the numbers up to `upto` of the first are done.
local function trim_again(key, s, upto)
  local low, high, others = string.match(s.again, '^(%d+)-(%d+),?(.*)$')
  if not low or upto < tonumber(low) then return end
  s.again = upto < tonumber(high) and whole(upto + 1) .. '-' .. high .. (others ~= '' and ',' .. others or '') or others
  redis.call('HSET', key.sub, 'again', s.again)
end

-- The next events to send again: of one range only, so that the numbers of a notification have no gaps. Ranges of which
-- nothing is kept any more are passed over.
local function repeated(key, s, max_bytes)
  local pinned = s.kind == 'resend' and s.upto
  while s.again ~= '' do
    local low, high = string.match(s.again, '^(%d+)-(%d+)')
    local events = fitting_events(key, s, low, (pinned or high) .. '-0', pinned, max_bytes)
    if #events > 0 then return events end
    trim_again(key, s, tonumber(high))
    s.kind, pinned = '', nil
  end
  return {}
end

-- Moves the cursor past events that were set aside; the last number before the next of them, nil where there is none.
local function pass_over(key, s)
  local low, others = string.match(s.skip, '^(%d+),?(.*)$')
  local cursor, has_passed = s.cursor, false
  while low and tonumber(low) <= cursor + 1 do
    cursor, s.skip, has_passed = math.max(cursor, tonumber(low)), others, true
    low, others = string.match(s.skip, '^(%d+),?(.*)$')
  end
  if has_passed then
    s.cursor = cursor
    redis.call('HSET', key.sub, 'cursor', whole(cursor), 'skip', s.skip)
  end
  return low and tonumber(low) - 1
end

-- How often building the notification under way has failed.
local function unbuilt(s)
  local at, tries = string.match(s.unbuilt, '^(%d+):(%d+)$')
  return at == s.at and tonumber(tries) or 0
end

-- A claim as a dispatcher gets it.
local function row_of(key, s, kind, events, now)
  return {key.member, s.token, kind, s.v, s.st, s.upto, s.at, s.tries, whole(s.since), whole(now), events, s.q,
    unbuilt(s)}
end

-- The claim that is held, once more, for a dispatcher that lost the answer it came with; nil if the client has changed
-- the subscription since.
local function held_row(key, s, now, lease_ms, max_bytes)
  local first = s.kind == 'event-notification' and whole(s.cursor + 1) or string.match(s.again, '^(%d+)')
  local has_events = s.kind == 'event-notification' or s.kind == 'resend'
  if s.pinv ~= s.v or (has_events and not first) then return nil end
  local events = has_events and fitting_events(key, s, first, s.upto .. '-0', true, max_bytes) or {}
  redis.call('ZADD', key.due, whole(now + lease_ms), key.member)
  return row_of(key, s, s.kind, events, now)
end

-- Takes the subscription's next notification, pinned so that every attempt sends the same; answers its row, or nil and the
-- time to look again (0: not until something happens).
local function take(key, s, now, lease_ms, max_bytes)
  if s['end'] > 0 and now >= s['end'] and s.st ~= 'off' and s.st ~= 'entered-in-error' then
    s.st = 'off'
    redis.call('HSET', key.sub, 'st', 'off', 'on', '')
    tell(key.registry, key.member, 'put')
  end
  if (s.st ~= 'active' and s.st ~= 'requested') or s.pull == '1' then return nil, rest(key, s) end
  local kind, events, before = s.kind, {}, s.skip ~= '' and pass_over(key, s) or nil
  if s.st == 'requested' then
    if kind ~= 'handshake' or s.pinv ~= s.v then kind, s.kind, s.tries, s.since = 'handshake', '', 0, 0 end
  elseif kind == '' or kind == 'handshake' or kind == 'resend' or (kind == 'heartbeat' and s.cursor < s.count) then
    if kind ~= 'resend' or s.pinv ~= s.v then s.kind = '' end
    events = repeated(key, s, max_bytes)
    if kind == 'resend' and s.kind == '' then s.tries, s.since = 0, 0 end
    if #events > 0 then kind = 'resend'
    elseif s.cursor < s.count then kind = 'event-notification'
    elseif s.hb > 0 and s.last + s.hb <= now then kind = 'heartbeat'
    else return nil, rest(key, s) end
  end
  if kind == 'event-notification' then
    local pinned = s.kind ~= '' and s.upto .. '-0'
    local bound = before and whole(before) .. '-0' or '+'
    events = fitting_events(key, s, whole(s.cursor + 1), pinned or bound, pinned, max_bytes)
    if #events == 0 then
      s.cursor = before or s.count
      redis.call('HSET', key.sub, 'cursor', whole(s.cursor))
      if before then return take(key, s, now, lease_ms, max_bytes) end
      return nil, rest(key, s)
    end
  end
  if s.kind == '' then
    s.at = whole(now)
    s.upto = #events > 0 and string.match(events[#events][1], '^(%d+)') or whole(s.count)
  end
  -- also above those given out before the store went back in time
  s.token = math.max(s.token + 1, now * 1000)
  redis.call('HSET', key.sub, 'kind', kind, 'upto', s.upto, 'at', s.at, 'pinv', s.v, 'token', whole(s.token),
    'busy', 'flight', 'tries', whole(s.tries), 'since', whole(s.since), 'done', (s.ended or '') .. ':' .. whole(s.token))
  redis.call('ZADD', key.due, whole(now + lease_ms), key.member)
  return row_of(key, s, kind, events, now)
end
