-- Ends an attempt: applies the decision about it, and claims the next notification of the same subscription.
-- KEYS     due set | registry stream | counters of the shard | subscription hash | outbox stream | dead
--          letters | index of dead letters | journal of the tenant's audit trail | attempts that delivered |
--          attempts that failed | their requests | their texts
-- ARGV     verdict (msgpack map, `Verdict` in records.py), resume backlog|newest, lease ms, bytes of
--          resources a notification may carry, how many attempts that delivered are kept, and how many that
--          failed, 1 if attempts may have texts, number of attempts; the attempts, each as attempts.lua says;
--          then the entries of the audit trail (msgpack)
-- Returns  {'stale'} if the claim was lost (only the attempts are written), else {status, now, next due or 0,
--          claim or nothing}
-- Repeat   yes; a call whose reply was lost gets that reply again: the claim that was taken, or when to look
--          again
local verdict = cmsgpack.unpack(ARGV[1])
local resume, lease_ms, max_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = {due = KEYS[1], registry = KEYS[2], counters = KEYS[3], sub = KEYS[4], outbox = KEYS[5],
  dead = KEYS[6], index = KEYS[7], member = verdict.member}
local decision, token = verdict.decision, whole(verdict.token)
local s = load(key.sub)
if not s then return {'stale'} end
local now = now_ms()
local number_of_attempts = tonumber(ARGV[8])
local first_audited = 9 + number_of_attempts * ATTEMPT_PARTS

-- Writes the attempts: with a decision, and also where the claim was lost, since a request was sent.
local function log_attempts(only_new)
  if number_of_attempts == 0 then return end
  local log = {d = KEYS[9], f = KEYS[10], requests = KEYS[11], texts = KEYS[12]}
  local max = {d = ARGV[5], f = ARGV[6], has_texts = ARGV[7]}
  write_attempts(log, ARGV, 9, number_of_attempts, max, only_new)
end

-- Makes the subscription due at once, for whichever dispatcher comes first.
local function release()
  change(s, 'claim_state', '')
  redis.call('ZADD', key.due, whole(now), key.member)
  return {s.status, whole(now), whole(now)}
end

if whole(s.token) ~= token or s.claim_state ~= 'in-flight' then
  -- the reply to this commit was lost, if nobody has claimed since
  local since = tonumber(s.last_commit)
  if not since or whole(s.token - since) ~= token then
    log_attempts(true)
    return {'stale'}
  end
  if s.claim_state ~= 'in-flight' then
    return {s.status, whole(now), redis.call('ZSCORE', key.due, key.member) or '0'}
  elseif verdict.takes_next then
    local claim = active_claim(key, s, now, lease_ms, max_bytes)
    return claim and {s.status, whole(now), '0', claim} or {'stale'}
  end
  local answer = release()
  save(key, s)
  return answer
end
s.committed = verdict.token
change(s, 'last_commit', '0')
-- the client stored the subscription again meanwhile: what was sent belongs to the previous document
local is_outdated = s.status == 'requested'
  and (s.notification_type ~= 'handshake' or s.pinned_revision ~= s.revision)
log_attempts(false)
if #ARGV >= first_audited then
  local record = {}
  for n = first_audited, #ARGV do
    record[#record + 1], record[#record + 2] = 'entry', ARGV[n]
  end
  redis.call('XADD', KEYS[8], '*', unpack(record))
end
-- counts the attempt, and the events it delivered beyond the one that a delivered attempt stands for
local is_delivered = decision == 'advance' and s.notification_type == 'event-notification'
local delivered = is_delivered and verdict.events or 0
if verdict.outcome ~= '' then
  local attempts = verdict.type .. ':' .. verdict.outcome
  if attempts == 'event-notification:delivered' then
    count(key.counters, 'delivered', 1)
    delivered = delivered - 1
  else
    count(key.counters, 'notifications:' .. attempts, 1)
  end
end
count(key.counters, 'events_delivered_correction', delivered)

-- Records why the attempt failed.
local function note_failure()
  change(s, 'error_code', verdict.error_code, 'error_text', verdict.error_text)
  if not s.has_error then list_under(key, 'error', true) end
end

-- Lets the next attempt wait.
local function back_off()
  local at = now + verdict.delay_ms
  if s.ends > 0 and s.ends < at then at = s.ends end
  change(s, 'claim_state', 'backoff')
  redis.call('ZADD', key.due, whole(at), key.member)
  return {s.status, whole(now), whole(at)}
end

-- Adds the dead letters of the verdict. Returns their numbers, as a set and as a text after `skipped`.
local function add_dead_letters(skipped)
  local numbers = {}
  for _, broken in ipairs(verdict.dead_letters) do
    local number = whole(broken[1])
    numbers[broken[1]] = true
    local replaced = redis.call('ZREMRANGEBYSCORE', key.dead, number, number)
    redis.call('ZADD', key.dead, number, number .. ' ' .. whole(now) .. ' ' .. broken[2])
    count(key.counters, 'dead_letters_created', 1 - replaced)
    skipped = skipped == '' and number or skipped .. ',' .. number
  end
  if next(numbers) then count_dead_letters(key) end
  return numbers, skipped
end

-- Moves the cursor behind the notification, or behind the last event that the receiver decided about.
local function advance()
  local is_partial = verdict.last_event > 0
  if is_partial then
    s.last_event = verdict.last_event
    note_failure()
  end
  if s.has_error and not is_partial then clear_error(key) end
  if s.notification_type == 'event-notification' then
    count(key.counters, 'undelivered_correction', verdict.events - (s.last_event - s.cursor))
    s.cursor = s.last_event
  elseif s.notification_type == 'resend' then
    if s.pinned_revision == s.revision then
      -- dead letters among the events are delivered now
      local first = string.match(s.resend_ranges, '^(%d+)')
      local redriven = first and redis.call('ZREMRANGEBYSCORE', key.dead, first, whole(s.last_event)) or 0
      if redriven > 0 then count_dead_letters(key) end
      trim_resend_ranges(s, s.last_event)
    end
  elseif s.notification_type == 'handshake' and not is_outdated and s.status == 'requested' then
    if resume == 'newest' then
      skip_to(key, s, s.count)
    end
    change_status(key, 'requested', 'active')
    s.status = 'active'
  end
  add_dead_letters('')
  s.last_sent, s.notification_type, s.attempts, s.failing_since = now, '', 0, 0
  change(s, 'cursor', whole(s.cursor), 'last_sent', whole(now), 'attempts', '0', 'failing_since', '0')
end

-- Makes the events that can't be rendered dead letters; the rest of the notification is sent without them.
local function move_to_dead_letters()
  local numbers, skipped = add_dead_letters(s.skipped_numbers)
  if not next(numbers) then
    -- each event can be rendered, all together can't: the first one is sent alone
    s.last_event, s.pinned_at = verdict.first_event, now
  else
    if s.notification_type == 'resend' then
      s.resend_ranges = without(s.resend_ranges, numbers)
      change(s, 'resend_ranges', s.resend_ranges)
    else
      s.skipped_numbers = skipped -- ascending: a notification ends before the next dead letter
      change(s, 'skipped_numbers', s.skipped_numbers)
    end
    s.notification_type = ''
  end
  s.attempts, s.failing_since = 0, 0
  change(s, 'attempts', '0', 'failing_since', '0')
  note_failure()
end

-- Removes events that the owner may not see; the rest of the notification is sent without them.
local function withhold_events()
  local numbers = {}
  for _, number in ipairs(verdict.withheld) do numbers[number] = true end
  if s.notification_type == 'resend' then
    s.resend_ranges = without(s.resend_ranges, numbers)
    change(s, 'resend_ranges', s.resend_ranges)
  else
    withhold(key, verdict.withheld, now)
  end
  s.notification_type, s.attempts, s.failing_since = '', 0, 0
  change(s, 'attempts', '0', 'failing_since', '0')
end

-- Ends the deliveries: status `off` or `error`.
local function stop_delivery(status)
  note_failure()
  if s.resend_ranges ~= '' then redis.call('HDEL', key.sub, 'resend_ranges') end
  change_status(key, s.status, status)
  s.status = status
end

-- Applies the decision. Returns the reply.
local function apply()
  if decision == 'advance' then
    advance()
    local has_rest = s.cursor < s.count or s.resend_ranges ~= ''
    if verdict.delay_ms > 0 and s.status == 'active' and has_rest then return back_off() end
  elseif decision == 'release' or is_outdated then
    -- attempts, failing_since and the pinned notification stay: the next attempt sends the same
  elseif decision == 'defer' then
    return back_off() -- nothing was attempted: no failure is counted
  elseif decision == 'retry' and (s.status == 'active' or s.status == 'requested') then
    local since = s.failing_since == 0 and now or s.failing_since
    change(s, 'attempts', whole(s.attempts + 1), 'failing_since', whole(since))
    note_failure()
    if verdict.is_build_failure then
      change(s, 'build_failures', whole(s.pinned_at) .. ':' .. whole(build_failures(s) + 1))
    end
    return back_off()
  elseif decision == 'dead-letter' and s.status == 'active' then
    move_to_dead_letters()
  elseif decision == 'withhold' then
    withhold_events()
  elseif s.status == 'active' or s.status == 'requested' then
    stop_delivery(decision == 'off' and 'off' or 'error')
  end

  if verdict.takes_next then
    local claim, at = take(key, s, now, lease_ms, max_bytes)
    return {s.status, whole(now), claim and '0' or whole(at), claim}
  end
  local has_more = s.cursor < s.count or s.notification_type ~= '' or s.resend_ranges ~= ''
  if s.status == 'requested' or (s.status == 'active' and has_more) then return release() end
  return {s.status, whole(now), whole(rest(key, s))}
end

local answer = apply()
save(key, s)
return answer
