-- What a subscription has to send next, and when a dispatcher has to look at it. Needs base.lua and
-- subscription.lua. `s` is a subscription that `load` has read; numbers in it are Lua numbers. Changes of its
-- hash are collected by `change` and written by `save`, in one command with the fields that differ: most of
-- the append-only file of a notification would otherwise be these fields.
local MAX_PINNED_EVENTS = 100000
local LOADED = {'status', 'count', 'cursor', 'max_count', 'heartbeat_ms', 'ends', 'notification', 'attempts',
  'failing_since', 'last_sent', 'token', 'revision', 'carries_resources', 'pinned_revision', 'is_pull',
  'resend_ranges', 'skipped_numbers', 'build_failures', 'last_commit', 'claim_state', 'error_text',
  'secrets_id'}

local function load(sub)
  local v = redis.call('HMGET', sub, unpack(LOADED))
  if not v[1] then return nil end
  local stored = {}
  for n, name in ipairs(LOADED) do stored[name] = v[n] end
  local notification_type, last_event, pinned_at = notification_of(v[7])
  local token = tonumber(v[11])
  return {
    stored = stored, changed = {},
    status = v[1], count = tonumber(v[2]), cursor = tonumber(v[3]), max_count = tonumber(v[4]),
    heartbeat_ms = tonumber(v[5]), ends = tonumber(v[6]), notification_type = notification_type,
    last_event = last_event, pinned_at = pinned_at or moment_of(token), attempts = tonumber(v[8]) or 0,
    failing_since = tonumber(v[9]) or 0, last_sent = tonumber(v[10]) or 0, token = token, revision = v[12],
    carries_resources = v[13], pinned_revision = v[14], is_pull = v[15], resend_ranges = v[16] or '',
    skipped_numbers = v[17] or '', build_failures = v[18] or '', last_commit = v[19], claim_state = v[20],
    has_error = v[21] ~= false, secrets_id = v[22] or '',
  }
end

-- Has `save` write fields: names and values in turn. It writes `notification` by itself.
local function change(s, ...)
  local pairs_given = {...}
  for n = 1, #pairs_given, 2 do s.changed[pairs_given[n]] = pairs_given[n + 1] end
end

-- Writes the fields that differ from what is stored. Every script that changes `s` ends with it.
local function save(key, s)
  local fields = {}
  local pinned_at = s.pinned_at ~= moment_of(s.token) and s.pinned_at or nil
  change(s, 'notification', notification_text(s.notification_type, s.last_event, pinned_at))
  for name, value in pairs(s.changed) do
    if s.stored[name] ~= value then
      fields[#fields + 1], fields[#fields + 2] = name, value
      s.stored[name] = value
    end
  end
  s.changed = {}
  if #fields > 0 then redis.call('HSET', key.sub, unpack(fields)) end
end

-- Moves the cursor over events that are not delivered.
local function skip_to(key, s, to)
  count(key.counters, 'undelivered_correction', s.cursor - to)
  s.cursor = to
  change(s, 'cursor', whole(to))
end

-- There is nothing to send now: the subscription is due at its next heartbeat or at its end, whichever is
-- first. Returns that moment, or 0.
local function rest(key, s)
  local at = 0
  if s.status == 'active' and s.heartbeat_ms > 0 and s.is_pull ~= '1' then
    at = s.last_sent + s.heartbeat_ms
  end
  if s.ends > 0 and s.status ~= 'off' and (at == 0 or s.ends < at) then at = s.ends end
  s.notification_type = ''
  change(s, 'claim_state', '', 'attempts', '0', 'failing_since', '0')
  if at == 0 then redis.call('ZREM', key.due, key.member)
  else redis.call('ZADD', key.due, whole(at), key.member) end
  return at
end

-- The entries up to the first missing number: a notification of k events with count n carries n-k+1 to n
-- (R-275).
local function without_gap(entries)
  local first = #entries > 0 and entry_number(entries[1][1])
  if not first or entry_number(entries[#entries][1]) - first == #entries - 1 then return entries end
  local run = {}
  for n, entry in ipairs(entries) do
    if entry_number(entry[1]) ~= first + n - 1 then break end
    run[n] = entry
  end
  return run
end

-- Whether a resource of an event is in `versions` (by `<type>/<id>`) in another version; if not, adds the
-- event's resources. Inside an event the focus comes first, as in the notification. `single_versions` in
-- model/notification.py is the same rule.
local function adds_second_version(versions, event)
  local own = {[event[EVENT.TYPE] .. '/' .. event[EVENT.ID]] = event[EVENT.VERSION]}
  for _, included in ipairs(event[EVENT.INCLUDED]) do -- `IncludedRecord`
    local name = included[1] .. '/' .. included[2]
    own[name] = own[name] or included[3]
  end
  for name, version in pairs(own) do
    if versions[name] and versions[name] ~= version then return true end
  end
  for name, version in pairs(own) do versions[name] = version end
  return false
end

-- The events from `first` to `last` that fit one notification: up to `max_count` of them, with up to
-- `max_bytes` of resources and one version of each resource (decision 140); at least one. A pinned
-- notification always has the same ones.
local function fitting_events(key, s, first, last, is_pinned, max_bytes)
  local limit = is_pinned and MAX_PINNED_EVENTS or math.max(s.max_count, 1)
  local entries = redis.call('XRANGE', key.outbox, first .. '-0', last, 'COUNT', limit)
  if not is_pinned then entries = without_gap(entries) end
  if is_pinned or s.carries_resources ~= '1' or #entries == 1 then return entries end
  local bytes, versions, fitting = 0, {}, {}
  for n, entry in ipairs(entries) do
    local event = cmsgpack.unpack(entry[2][2])
    bytes = bytes + event[EVENT.SIZE]
    if adds_second_version(versions, event) or (n > 1 and bytes > max_bytes) then break end
    fitting[n] = entry
  end
  return fitting
end

-- Removes the numbers up to `last` from the first of the ranges to send once more.
local function trim_resend_ranges(s, last)
  local low, high, others = string.match(s.resend_ranges, '^(%d+)-(%d+),?(.*)$')
  if not low or last < tonumber(low) then return end
  if last < tonumber(high) then
    s.resend_ranges = whole(last + 1) .. '-' .. high .. (others ~= '' and ',' .. others or '')
  else
    s.resend_ranges = others
  end
  change(s, 'resend_ranges', s.resend_ranges)
end

-- The next events to send once more. They are of one range, so that the numbers of a notification have no
-- gap; a range whose events are not stored any more is removed.
local function events_to_resend(key, s, max_bytes)
  local pinned = s.notification_type == 'resend' and whole(s.last_event)
  while s.resend_ranges ~= '' do
    local low, high = string.match(s.resend_ranges, '^(%d+)-(%d+)')
    local events = fitting_events(key, s, low, (pinned or high) .. '-0', pinned, max_bytes)
    if #events > 0 then return events end
    trim_resend_ranges(s, tonumber(high))
    s.notification_type, pinned = '', nil
  end
  return {}
end

-- Moves the cursor over dead letters. Returns the last number before the next dead letter, or nil if none
-- follows.
local function skip_dead_letters(key, s)
  local low, others = string.match(s.skipped_numbers, '^(%d+),?(.*)$')
  local cursor, has_skipped = s.cursor, false
  while low and tonumber(low) <= cursor + 1 do
    cursor, s.skipped_numbers, has_skipped = math.max(cursor, tonumber(low)), others, true
    low, others = string.match(s.skipped_numbers, '^(%d+),?(.*)$')
  end
  if has_skipped then
    skip_to(key, s, cursor)
    change(s, 'skipped_numbers', s.skipped_numbers)
  end
  return low and tonumber(low) - 1
end

-- How often building the notification under way has failed.
local function build_failures(s)
  local at, failures = string.match(s.build_failures, '^(%d+):(%d+)$')
  return at == whole(s.pinned_at) and tonumber(failures) or 0
end

-- A claim as a dispatcher receives it: a msgpack map (`ClaimRecord` in records.py), and the outbox entries of
-- its events. `interrupted_at`: when the claim before was taken, if that ended without a commit, so that its
-- dispatcher may have sent something; or nil.
local function claim_of(key, s, notification_type, events, now, interrupted_at)
  local record = cmsgpack.pack({
    member = key.member, token = s.token, type = notification_type,
    status = s.status, count = s.last_event, at = s.pinned_at, attempts = s.attempts,
    failing_since = s.failing_since, now = now, revision = s.revision, secrets_id = s.secrets_id,
    build_failures = build_failures(s),
    interrupted_at = interrupted_at,
  })
  return {record, events}
end

-- The claim under way, for a dispatcher that lost the reply with it; nil if the client has changed the
-- subscription since.
local function active_claim(key, s, now, lease_ms, max_bytes)
  local is_first_time = s.notification_type == 'event-notification'
  local first = is_first_time and whole(s.cursor + 1) or string.match(s.resend_ranges, '^(%d+)')
  local has_events = is_first_time or s.notification_type == 'resend'
  if s.pinned_revision ~= s.revision or (has_events and not first) then return nil end
  local last = whole(s.last_event) .. '-0'
  local events = has_events and fitting_events(key, s, first, last, true, max_bytes) or {}
  redis.call('ZADD', key.due, whole(now + lease_ms), key.member)
  return claim_of(key, s, s.notification_type, events, now)
end

-- The type of the next notification and its events, or nil if there is nothing to send. An attempt that
-- failed keeps its type.
local function choose(key, s, now, max_bytes)
  local chosen = s.notification_type
  if s.status == 'requested' then
    if chosen ~= 'handshake' or s.pinned_revision ~= s.revision then
      s.notification_type, s.attempts, s.failing_since = '', 0, 0
    end
    return 'handshake', {}
  end
  local is_retry = chosen == 'event-notification' or (chosen == 'heartbeat' and s.cursor >= s.count)
  if is_retry then return chosen, {} end
  if chosen ~= 'resend' or s.pinned_revision ~= s.revision then s.notification_type = '' end
  local events = events_to_resend(key, s, max_bytes)
  if chosen == 'resend' and s.notification_type == '' then s.attempts, s.failing_since = 0, 0 end
  if #events > 0 then return 'resend', events end
  if s.cursor < s.count then return 'event-notification', {} end
  if s.heartbeat_ms > 0 and s.last_sent + s.heartbeat_ms <= now then return 'heartbeat', {} end
  return nil
end

-- Takes the subscription's next notification and pins it, so that every attempt sends the same. Returns the
-- claim; or nil and the moment to look again (0: not before something happens).
local function take(key, s, now, lease_ms, max_bytes)
  if s.ends > 0 and now >= s.ends and s.status ~= 'off' and s.status ~= 'entered-in-error' then
    change_status(key, s.status, 'off')
    s.status = 'off'
  end
  if (s.status ~= 'active' and s.status ~= 'requested') or s.is_pull == '1' then return nil, rest(key, s) end
  local bound = s.skipped_numbers ~= '' and skip_dead_letters(key, s) or nil
  local notification_type, events = choose(key, s, now, max_bytes)
  if not notification_type then return nil, rest(key, s) end
  if notification_type == 'event-notification' then
    local is_pinned = s.notification_type ~= ''
    local last = (is_pinned and whole(s.last_event) .. '-0') or (bound and whole(bound) .. '-0') or '+'
    events = fitting_events(key, s, whole(s.cursor + 1), last, is_pinned, max_bytes)
    if #events == 0 then
      skip_to(key, s, bound or s.count)
      if bound then return take(key, s, now, lease_ms, max_bytes) end
      return nil, rest(key, s)
    end
  end
  if s.notification_type == '' then
    s.pinned_at = now
    s.last_event = #events > 0 and entry_number(events[#events][1]) or s.count
  end
  local is_takeover = s.claim_state == 'in-flight' and not s.committed
  local interrupted_at = is_takeover and moment_of(s.token) or nil
  -- also above the tokens that were given out before a rollback of the store
  s.token = math.max(s.token + 1, now * 1000)
  s.notification_type = notification_type
  change(s, 'pinned_revision', s.revision, 'token', whole(s.token), 'claim_state', 'in-flight',
    'attempts', whole(s.attempts), 'failing_since', whole(s.failing_since),
    'last_commit', s.committed and whole(s.token - s.committed) or '')
  redis.call('ZADD', key.due, whole(now + lease_ms), key.member)
  return claim_of(key, s, notification_type, events, now, interrupted_at)
end

