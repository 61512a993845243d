-- Accepts changes: writes versions, moves the current version, logs each change.
-- Keys, six a change: current hash | version prefix | changes stream | identifier hash | idempotency string |
--   prefix of the reference sets
-- ARGV[1]  'each' (the changes are independent) or 'all' (a transaction: nothing is written unless every one can be)
-- ARGV[2]  how long superseded versions and idempotency answers stay, ms
-- ARGV[3]  channel that is told of the partition in ARGV[4], or ''
-- ARGV[5]  how many changes of a log may be unmatched
-- then thirteen a change:
--   op create|put|delete|event, request id, tenant, type, id, release, head, tail, If-Match version or '',
--   idempotency digest or '', identifiers (a line each), codings of a business event (JSON) or '',
--   references it is found by (`<Type/id it refers to>:<type>:<parameter>`, a line each)
-- Answers one row a change, {status, version, ms}:
--   created updated deleted reported replayed gone | exists conflict absent mismatch full (these fail a transaction)
-- An event is about the current version: it writes none, and is logged as an update that has no previous version.
-- A request id that wrote the current version is answered again without writing: the client library may send twice.
-- A repetition writes something all the same: a caller that waits for the disk or for replicas then waits for the first write too.
local FIELDS, KEYS_EACH, HEAD = 13, 6, 5
local atomic, keep = ARGV[1] == 'all', ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = string.format('%.0f', now)

-- An answer that needs no write, or nil after settling the change's version, previous version and interaction.
local function decide(c)
  if c.digest ~= '' then
    local known = redis.call('GET', c.idempotency)
    if known then
      local digest, version, written = string.match(known, '^(%S+) (%d+) (%d+)$')
      if digest ~= c.digest then return {'mismatch', 0, 0} end
      redis.call('PEXPIRE', c.idempotency, keep)
      return {'replayed', tonumber(version), tonumber(written)}
    end
  end
  local held = redis.call('HMGET', c.current, 'v', 'x', 'q', 'w', 'f')
  local exists = held[1] and held[2] ~= 'delete'
  if held[3] == c.request then
    redis.call('HSET', c.current, 'q', c.request)
    local written = string.match(redis.call('GETRANGE', c.versions .. held[1], 0, 63), '^%S+ %S+ (%d+)')
    return {'replayed', tonumber(held[1]), tonumber(written)}
  end
  if c.op == 'event' then
    local told, when = string.match(held[4] or '', '^(%S+) (%d+)$')
    if told == c.request then
      redis.call('HSET', c.current, 'w', held[4])
      return {'replayed', tonumber(held[1]), tonumber(when)}
    end
    if not held[1] then return {'absent', 0, 0} end
    if not exists then return {'gone', tonumber(held[1]), 0} end
    c.version = held[1]
    return nil
  end
  if c.op == 'create' and held[1] then return {'exists', tonumber(held[1]), 0} end
  if c.expected ~= '' and not (exists and c.expected == held[1]) then return {'conflict', tonumber(held[1] or '0'), 0} end
  if c.op == 'delete' and not held[1] then return {'absent', 0, 0} end
  if c.op == 'delete' and not exists then return {'gone', tonumber(held[1]), 0} end
  c.superseded, c.held_references = held[1], held[5] or ''
  c.version = string.format('%.0f', tonumber(held[1] or '0') + 1)
  c.previous = exists and held[1] or ''
  c.interaction = c.op == 'delete' and 'delete' or (exists and 'update' or 'create')
end

-- Keeps `system|value` -> ids in step with what the current version says of itself.
local function reindex(c)
  local old = redis.call('HGET', c.current, 'n') or ''
  if old == c.identifiers then return end
  for token in string.gmatch(old, '[^\n]+') do
    local left = {}
    for id in string.gmatch(redis.call('HGET', c.index, token) or '', '%S+') do
      if id ~= c.id then left[#left + 1] = id end
    end
    if #left == 0 then redis.call('HDEL', c.index, token)
    else redis.call('HSET', c.index, token, table.concat(left, ' ')) end
  end
  for token in string.gmatch(c.identifiers, '[^\n]+') do
    local held = redis.call('HGET', c.index, token)
    redis.call('HSET', c.index, token, held and (held .. ' ' .. c.id) or c.id)
  end
end

-- Keeps the sets of who refers to what in step with what the current version says; the score is when it said so.
local function reindex_references(c)
  for line in string.gmatch(c.held_references, '[^\n]+') do redis.call('ZREM', c.refs .. line, c.id) end
  for line in string.gmatch(c.references, '[^\n]+') do redis.call('ZADD', c.refs .. line, at, c.id) end
  if c.references ~= '' then redis.call('HSET', c.current, 'f', c.references)
  elseif c.held_references ~= '' then redis.call('HDEL', c.current, 'f') end
end

local function remember(c)
  if c.digest ~= '' then
    redis.call('SET', c.idempotency, c.digest .. ' ' .. c.version .. ' ' .. at, 'PX', keep)
  end
end

local function report(c)
  local release = string.match(redis.call('GETRANGE', c.versions .. c.version, 0, 15), '^%S+') or c.release
  redis.call('HSET', c.current, 'w', c.request .. ' ' .. at)
  redis.call('XADD', c.log, '*', 't', c.tenant, 'y', c.type, 'i', c.id, 'v', c.version, 'p', '',
    'x', 'update', 'r', release, 'a', at, 'e', c.events)
  remember(c)
  return {'reported', tonumber(c.version), now}
end

local function write(c)
  if c.op == 'event' then return report(c) end
  local head, tail = c.head, c.tail
  if c.op == 'delete' then head, tail = '', '' end
  redis.call('SET', c.versions .. c.version,
    string.format('%s %s %s %d\n', c.release, c.interaction, at, #head) .. head .. tail)
  if c.superseded then redis.call('PEXPIRE', c.versions .. c.superseded, keep) end
  reindex(c)
  reindex_references(c)
  redis.call('HSET', c.current, 'v', c.version, 'x', c.interaction, 'q', c.request, 'n', c.identifiers)
  redis.call('XADD', c.log, '*', 't', c.tenant, 'y', c.type, 'i', c.id, 'v', c.version, 'p', c.previous,
    'x', c.interaction, 'r', c.release, 'a', at)
  remember(c)
  local done = {create = 'created', update = 'updated', delete = 'deleted'}
  return {done[c.interaction], tonumber(c.version), now}
end

-- Whether a log takes no more: its reader is away, or too slow. What one call adds doesn't count for itself.
local full = {}
local function is_full(log)
  if full[log] == nil then
    full[log] = false
    if redis.call('XLEN', log) >= tonumber(ARGV[5]) then
      local waiting = 0
      for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
        for f = 1, #group, 2 do
          if group[f] == 'pending' or group[f] == 'lag' then waiting = waiting + (group[f + 1] or 0) end
        end
      end
      full[log] = waiting >= tonumber(ARGV[5])
    end
  end
  return full[log]
end

local function settle(c)
  return decide(c) or (is_full(c.log) and {'full', 0, 0}) or nil
end

local changes, answers, refused = {}, {}, false
for n = 1, (#ARGV - HEAD) / FIELDS do
  local a, k = HEAD + (n - 1) * FIELDS, (n - 1) * KEYS_EACH
  changes[n] = {
    op = ARGV[a + 1], request = ARGV[a + 2], tenant = ARGV[a + 3], type = ARGV[a + 4], id = ARGV[a + 5],
    release = ARGV[a + 6], head = ARGV[a + 7], tail = ARGV[a + 8], expected = ARGV[a + 9], digest = ARGV[a + 10],
    identifiers = ARGV[a + 11], events = ARGV[a + 12], references = ARGV[a + 13],
    current = KEYS[k + 1], versions = KEYS[k + 2], log = KEYS[k + 3], index = KEYS[k + 4], idempotency = KEYS[k + 5],
    refs = KEYS[k + 6],
  }
end
if atomic then
  for n, c in ipairs(changes) do
    answers[n] = settle(c) or false
    local status = answers[n] and answers[n][1]
    if status and status ~= 'replayed' and status ~= 'gone' then refused = true end
  end
  if refused then
    for n in ipairs(changes) do answers[n] = answers[n] or {'', 0, 0} end
    return answers
  end
  for n, c in ipairs(changes) do answers[n] = answers[n] or write(c) end
else
  for n, c in ipairs(changes) do answers[n] = settle(c) or write(c) end
end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return answers
