-- Ends an attempt: carries out what was decided and takes the next notification of the same subscription.
-- KEYS: due set | registry stream | subscription hash | outbox stream | dead letters | index of dead letters
-- ARGV: member, token, decision advance|retry|error|off|release|defer|aside, delay ms, error code, error text,
--       resume backlog|newest, take the next 1|0, lease ms, bytes of resources a notification may carry,
--       1 if it could not be built, its first event number, then what is set aside: event number and why, of each
-- Answers {'stale'} if the claim was lost (nothing is written), else {status, now, next due or 0, row or nothing}. A call
-- that is repeated because its answer was lost gets that answer: the claim that was taken then, or when to look again.
local key = {due = KEYS[1], registry = KEYS[2], sub = KEYS[3], outbox = KEYS[4], dead = KEYS[5], index = KEYS[6],
  member = ARGV[1]}
local decision = ARGV[3]
local s = load(key.sub)
if not s then return {'stale'} end
local now = now_ms()
if whole(s.token) ~= ARGV[2] or s.busy ~= 'flight' then
  -- this commit's first answer was lost, and nobody has claimed since
  if s.done ~= ARGV[2] .. ':' .. whole(s.token) then return {'stale'} end
  if s.busy ~= 'flight' then
    return {s.st, whole(now), redis.call('ZSCORE', key.due, key.member) or '0'}
  elseif ARGV[8] == '1' then
    local row = held_row(key, s, now, tonumber(ARGV[9]), tonumber(ARGV[10]))
    return row and {s.st, whole(now), '0', row} or {'stale'}
  end
  redis.call('HSET', key.sub, 'busy', '')
  redis.call('ZADD', key.due, whole(now), key.member)
  return {s.st, whole(now), whole(now)}
end
s.ended = ARGV[2]
redis.call('HSET', key.sub, 'done', ARGV[2] .. ':' .. ARGV[2])
-- the client re-registered meanwhile: what was sent belongs to the document before
local outdated = s.st == 'requested' and (s.kind ~= 'handshake' or s.pinv ~= s.v)
local failure = {'ec', ARGV[5], 'et', ARGV[6]}
local at

if decision == 'advance' then
  redis.call('HDEL', key.sub, 'ec', 'et')
  if s.kind == 'event-notification' then
    s.cursor = tonumber(s.upto)
    redis.call('HSET', key.sub, 'cursor', s.upto)
  elseif s.kind == 'resend' then
    if s.pinv == s.v then
      -- those that were set aside are delivered now
      local first = string.match(s.again, '^(%d+)')
      if first and redis.call('ZREMRANGEBYSCORE', key.dead, first, s.upto) > 0 then count_letters(key) end
      trim_again(key, s, tonumber(s.upto))
    end
  elseif s.kind == 'handshake' and not outdated and s.st == 'requested' then
    s.st = 'active'
    redis.call('HSET', key.sub, 'st', 'active')
    if redis.call('HGET', key.sub, 'on') == '' then redis.call('HSET', key.sub, 'on', whole(now)) end
    if ARGV[7] == 'newest' then
      s.cursor = s.count
      redis.call('HSET', key.sub, 'cursor', whole(s.count))
    end
    tell(key.registry, key.member, 'put')
  end
  s.last, s.kind, s.tries, s.since = now, '', 0, 0
  redis.call('HSET', key.sub, 'last', whole(now), 'kind', '', 'tries', '0', 'since', '0')
elseif decision == 'release' or outdated then
  -- tries, since and the pinned notification stay: the next attempt sends the same
elseif decision == 'defer' then
  -- not an attempt: what is pinned stays, and no failure is counted
  at = now + tonumber(ARGV[4])
  if s['end'] > 0 and s['end'] < at then at = s['end'] end
  redis.call('HSET', key.sub, 'busy', 'backoff')
  redis.call('ZADD', key.due, whole(at), key.member)
  return {s.st, whole(now), whole(at)}
elseif decision == 'retry' and s.st == 'active' then
  at = now + tonumber(ARGV[4])
  if s['end'] > 0 and s['end'] < at then at = s['end'] end
  redis.call('HSET', key.sub, 'busy', 'backoff', 'tries', whole(s.tries + 1), 'since',
    whole(s.since == 0 and now or s.since), unpack(failure))
  if ARGV[11] == '1' then redis.call('HSET', key.sub, 'unbuilt', s.at .. ':' .. whole(unbuilt(s) + 1)) end
  redis.call('ZADD', key.due, whole(at), key.member)
  return {s.st, whole(now), whole(at)}
elseif decision == 'aside' and s.st == 'active' then
  local numbers, skip = {}, s.skip
  for a = 13, #ARGV, 2 do
    numbers[tonumber(ARGV[a])] = true
    redis.call('ZREMRANGEBYSCORE', key.dead, ARGV[a], ARGV[a])
    redis.call('ZADD', key.dead, ARGV[a], ARGV[a] .. ' ' .. whole(now) .. ' ' .. ARGV[a + 1])
    skip = skip == '' and ARGV[a] or skip .. ',' .. ARGV[a]
  end
  if not next(numbers) then
    -- each can be rendered, all together can't: the first goes alone
    s.upto, s.at = ARGV[12], whole(now)
  else
    count_letters(key)
    if s.kind == 'resend' then
      s.again = without(s.again, numbers)
      redis.call('HSET', key.sub, 'again', s.again)
    else
      s.skip = skip -- ascending: a notification ends before the next that was set aside
      redis.call('HSET', key.sub, 'skip', s.skip)
    end
    s.kind = ''
  end
  s.tries, s.since = 0, 0
  redis.call('HSET', key.sub, 'kind', s.kind, 'upto', s.upto, 'at', s.at, 'tries', '0', 'since', '0', unpack(failure))
elseif s.st == 'active' or s.st == 'requested' then
  s.st = decision == 'off' and 'off' or 'error'
  redis.call('HSET', key.sub, 'st', s.st, unpack(failure))
  if s.st == 'off' then redis.call('HSET', key.sub, 'on', '') end
  if s.again ~= '' then redis.call('HDEL', key.sub, 'again') end
  tell(key.registry, key.member, 'put')
end

if ARGV[8] == '1' then
  local row
  row, at = take(key, s, now, tonumber(ARGV[9]), tonumber(ARGV[10]))
  return {s.st, whole(now), row and '0' or whole(at), row}
end
local is_waiting = s.st == 'requested' or (s.st == 'active' and (s.cursor < s.count or s.kind ~= '' or s.again ~= ''))
if is_waiting then
  redis.call('HSET', key.sub, 'busy', '')
  redis.call('ZADD', key.due, whole(now), key.member)
  at = now
else
  at = rest(key, s)
end
return {s.st, whole(now), whole(at)}
