-- Accepts changes: stores each version, makes it the current one, and logs the change for the matchers.
-- KEYS     counters of the partition, then for each change: current hash, version prefix, changes stream,
--          identifier index, idempotency string, prefix of the reference sets
-- ARGV     mode each|all, how long superseded versions and idempotency answers are kept (ms), channel to
--          publish the partition of the next argument on, or '', partition, how many changes of a log may be
--          unmatched; then for each change: proposal (msgpack map, `ProposedChange` in records.py), logged
--          change (opaque), head, tail
-- Returns  a row {status, version, moment} for each change: created updated deleted reported replayed gone |
--          exists conflict absent mismatch full
-- Repeat   yes; a request id that wrote the current version is answered again. It then writes something all
--          the same: a caller that waits for the disk or for replicas then waits for the first write too
-- Mode `each`: the changes are independent. Mode `all`: a transaction; nothing is written if one change gets
-- a status of the second group, and the others are answered with ''. A business event (op `event`) is about
-- the current version: it writes none, and is logged as an update without a previous one.
local FIELDS, KEYS_EACH, FIRST_FIELD, FIRST_KEY = 4, 6, 5, 1
local is_atomic, keep_ms, max_unmatched = ARGV[1] == 'all', ARGV[2], tonumber(ARGV[5])
local now = now_ms()
local at = whole(now)
local accepted = {}

local function lines(text) return string.gmatch(text or '', '[^\n]+') end

-- The answer to a change that need not or can't be written; nil, with version, previous and interaction set,
-- if it can.
local function check(change)
  if change.digest ~= '' then
    local answered = redis.call('GET', change.idempotency)
    if answered then
      local digest, version, written = string.match(answered, '^(%S+) (%d+) (%d+)$')
      if digest ~= change.digest then return {'mismatch', 0, 0} end
      redis.call('PEXPIRE', change.idempotency, keep_ms)
      return {'replayed', tonumber(version), tonumber(written)}
    end
  end
  local held = redis.call('HMGET', change.current, 'version', 'interaction', 'request', 'last_event',
    'references')
  local version, exists = held[1], held[1] and held[2] ~= 'delete'
  if held[3] == change.request_id then
    redis.call('HSET', change.current, 'request', change.request_id)
    local written = string.match(redis.call('GETRANGE', change.versions .. version, 0, 63), '^%S+ %S+ (%d+)')
    return {'replayed', tonumber(version), tonumber(written)}
  end
  if change.op == 'event' then
    local request, reported = string.match(held[4] or '', '^(%S+) (%d+)$')
    if request == change.request_id then
      redis.call('HSET', change.current, 'last_event', held[4])
      return {'replayed', tonumber(version), tonumber(reported)}
    end
    if not version then return {'absent', 0, 0} end
    if not exists then return {'gone', tonumber(version), 0} end
    change.version = version
    return nil
  end
  if change.op == 'create' and version then return {'exists', tonumber(version), 0} end
  if not meets_preconditions(change.if_match, change.if_none_match, exists and version) then
    return {'conflict', tonumber(version or '0'), 0}
  end
  if change.op == 'delete' and not version then return {'absent', 0, 0} end
  if change.op == 'delete' and not exists then return {'gone', tonumber(version), 0} end
  change.superseded, change.held_references = version, held[5]
  change.version = whole(tonumber(version or '0') + 1)
  change.previous = exists and version or ''
  change.interaction = change.op == 'delete' and 'delete' or (exists and 'update' or 'create')
end

-- Makes the identifier index agree with the identifiers of the current version.
local function index_identifiers(change)
  local old = redis.call('HGET', change.current, 'identifiers') or ''
  if old == change.identifiers then return end
  for entry in lines(old) do redis.call('ZREM', change.index, entry .. change.id) end
  for entry in lines(change.identifiers) do redis.call('ZADD', change.index, 0, entry .. change.id) end
end

-- Makes the sets of who refers to what agree with the current version; the score is the moment since when it
-- refers.
local function index_references(change)
  for line in lines(change.held_references) do redis.call('ZREM', change.referring .. line, change.id) end
  for line in lines(change.references) do redis.call('ZADD', change.referring .. line, at, change.id) end
  if change.references ~= '' then redis.call('HSET', change.current, 'references', change.references)
  elseif change.held_references then redis.call('HDEL', change.current, 'references') end
end

local function log(change, release, interaction, previous)
  redis.call('XADD', change.log, '*', 'change', change.logged, 'version', change.version,
    'previous', previous, 'interaction', interaction, 'release', release, 'at', at)
  if change.digest ~= '' then
    redis.call('SET', change.idempotency, change.digest .. ' ' .. change.version .. ' ' .. at, 'PX', keep_ms)
  end
end

local function report(change)
  local line = redis.call('GETRANGE', change.versions .. change.version, 0, 15)
  redis.call('HSET', change.current, 'last_event', change.request_id .. ' ' .. at)
  log(change, string.match(line, '^%S+') or change.release, 'update', '')
  accepted.update = (accepted.update or 0) + 1
  return {'reported', tonumber(change.version), now}
end

local STATUS = {create = 'created', update = 'updated', delete = 'deleted'}
local function write(change)
  if change.op == 'event' then return report(change) end
  local head, tail, interaction = change.head, change.tail, change.interaction
  if interaction == 'delete' then head, tail = '', '' end
  local line = change.release .. ' ' .. interaction .. ' ' .. at .. ' ' .. #head .. '\n'
  redis.call('SET', change.versions .. change.version, line .. head .. tail)
  if change.superseded then redis.call('PEXPIRE', change.versions .. change.superseded, keep_ms) end
  index_identifiers(change)
  index_references(change)
  redis.call('HSET', change.current, 'version', change.version, 'interaction', interaction,
    'request', change.request_id, 'identifiers', change.identifiers)
  log(change, change.release, interaction, change.previous)
  accepted[interaction] = (accepted[interaction] or 0) + 1
  return {STATUS[interaction], tonumber(change.version), now}
end

-- Whether a log takes no more changes because its reader is stopped or too slow. What this call adds does not
-- count.
local full = {}
local function is_full(log_key)
  if full[log_key] == nil then
    full[log_key] = false
    if redis.call('XLEN', log_key) >= max_unmatched then
      local unmatched = 0
      for _, group in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
        for f = 1, #group, 2 do
          if group[f] == 'pending' or group[f] == 'lag' then unmatched = unmatched + (group[f + 1] or 0) end
        end
      end
      full[log_key] = unmatched >= max_unmatched
    end
  end
  return full[log_key]
end

local function answer_without_write(change)
  return check(change) or (is_full(change.log) and {'full', 0, 0}) or nil
end

local changes, answers, is_refused = {}, {}, false
for n = 1, (#ARGV - FIRST_FIELD) / FIELDS do
  local a, k = FIRST_FIELD + (n - 1) * FIELDS, FIRST_KEY + (n - 1) * KEYS_EACH
  local change = cmsgpack.unpack(ARGV[a + 1])
  change.logged, change.head, change.tail = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  change.current, change.versions, change.log = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  change.index, change.idempotency, change.referring = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6]
  changes[n] = change
end
if is_atomic then
  for n, change in ipairs(changes) do
    answers[n] = answer_without_write(change) or false
    local status = answers[n] and answers[n][1]
    if status and status ~= 'replayed' and status ~= 'gone' then is_refused = true end
  end
  if is_refused then
    for n in ipairs(changes) do answers[n] = answers[n] or {'', 0, 0} end
    return answers
  end
  for n, change in ipairs(changes) do answers[n] = answers[n] or write(change) end
else
  for n, change in ipairs(changes) do answers[n] = answer_without_write(change) or write(change) end
end
for interaction, number in pairs(accepted) do count(KEYS[1], 'changes_accepted:' .. interaction, number) end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return answers
