-- Accepts changes: stores each version, makes it the current one, and logs the change for the matchers.
-- KEYS     for each partition: counters, matching hash, set of held versions, changes stream, moments; then
--          for each change: resource, identifier index, idempotency string, prefix of the reference sets,
--          journal of the audit trail, prefix of the search sets, set of types
-- ARGV     mode each|all, how long the answers to idempotency keys are kept (ms), channel to publish the
--          partition of the next argument on, or '', partition, how many changes of a log may be unmatched,
--          how many partitions; then for each change: proposal (msgpack map, `ProposedChange` in records.py),
--          logged change (`LoggedChange`), packed text, audit entry (`encode_change` in audit_blocks.py)
--          or ''
-- Returns  a row {status, version, moment} for each change: created updated deleted reported replayed gone |
--          exists conflict absent mismatch full
-- Repeat   yes; a request id that wrote the current version is answered again. It then writes something all
--          the same: a caller that waits for the disk or for replicas then waits for the first write too
-- Mode `each`: the changes are independent. Mode `all`: a transaction; nothing is written if one change gets
-- a status of the second group, and the others are answered with ''. A business event (op `event`) is about
-- the current version: it writes none, and is logged as an update without a previous one.
local FIELDS, KEYS_EACH, FIRST_FIELD, KEYS_OF_PARTITION = 4, 7, 6, 5
-- the counters of what was logged (`matched_positions.py` reads them too)
local LOGGED = {'changes_accepted:create', 'changes_accepted:update', 'changes_accepted:delete',
  'dead_letters_redriven'}
local is_atomic, keep_ms, max_unmatched = ARGV[1] == 'all', ARGV[2], tonumber(ARGV[5])
local now = now_ms()
local partitions = {}
for n = 1, tonumber(ARGV[6]) do
  local k = (n - 1) * KEYS_OF_PARTITION
  partitions[n] = {counters = KEYS[k + 1], matching = KEYS[k + 2], held = KEYS[k + 3], log = KEYS[k + 4],
    moments = KEYS[k + 5], accepted = {}}
  -- what searches have read is complete (docs/decisions/290)
  partitions[n].earliest = math.max(now, tonumber(redis.call('HGET', KEYS[k + 5], 'read') or '-1') + 1)
end
local FIRST_KEY = #partitions * KEYS_OF_PARTITION

local function count_accepted(change, interaction)
  local accepted = change.partition.accepted
  accepted[interaction] = (accepted[interaction] or 0) + 1
end

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
  local held = read_head(change.resource)
  local version, exists = held and held.version, held and held.interaction ~= 'delete'
  if held and held.request == change.request_id then
    redis.call('SETRANGE', change.resource, 0, version)
    return {'replayed', tonumber(version), tonumber(held.at)}
  end
  if change.op == 'event' then
    local last_event = redis.call('GET', change.resource .. ':event') or ''
    local request, reported = string.match(last_event, '^(%S+) (%d+)$')
    if request == change.request_id then
      redis.call('PEXPIRE', change.resource .. ':event', keep_ms)
      return {'replayed', tonumber(version or '0'), tonumber(reported)}
    end
    if not version then return {'absent', 0, 0} end
    if not exists then return {'gone', tonumber(version), 0} end
    change.version, change.release, change.at = version, held.release, change.partition.earliest
    return nil
  end
  if change.op == 'create' and version then return {'exists', tonumber(version), 0} end
  if not meets_preconditions(change.if_match, change.if_none_match, exists and version) then
    return {'conflict', tonumber(version or '0'), 0}
  end
  if change.op == 'delete' and not version then return {'absent', 0, 0} end
  if change.op == 'delete' and not exists then return {'gone', tonumber(version), 0} end
  change.superseded = held
  change.at = math.max(change.partition.earliest, held and tonumber(held.at) or 0)
  change.version = whole(tonumber(version or '0') + 1)
  change.previous = exists and version or '-'
  change.interaction = change.op == 'delete' and 'delete' or (exists and 'update' or 'create')
end

-- What this call adds to the search sets: one command for each set, by set and member.
local added = {}
local function add(set, score, member)
  added[set] = added[set] or {}
  added[set][member] = score
end

local function send_added()
  for set, scores in pairs(added) do
    local arguments = {}
    for member, score in pairs(scores) do
      local n = #arguments
      arguments[n + 1], arguments[n + 2] = score, member
      if n >= 2000 then -- `unpack` has a limit
        redis.call('ZADD', set, unpack(arguments))
        arguments = {}
      end
    end
    if #arguments > 0 then redis.call('ZADD', set, unpack(arguments)) end
  end
end

-- Makes the search sets agree with the new version. In those of dates (`d`, `l`) the score is the date.
local function index_for_searches(change, old)
  if old.sets ~= change.sets then
    remove_from_sets(old, change.search, change.id)
    -- this call may have written the old version too
    for name in lines(old.sets) do (added[change.search .. name] or {})[change.id] = nil end
  end
  local at, date = whole(change.at), whole(change.date)
  for name in lines(change.sets) do
    add(change.search .. name, string.sub(name, 1, 1) == 'm' and at or date, change.id)
  end
  if change.superseded and (old.sets ~= '' or change.sets ~= '') then
    add(change.search .. 'v', old.at, change.id .. ' ' .. old.version)
    add(change.search .. 'v', at, change.id .. ' ' .. change.version)
  elseif change.sets ~= '' then
    redis.call('SADD', change.types, change.type)
  end
end

-- Makes the identifier index and the sets of who refers to what agree with the new version.
local function index(change)
  local old = change.superseded or NOTHING
  if old.identifiers ~= change.identifiers then
    remove_identifiers(old, change.index, change.id)
    for entry in lines(change.identifiers) do redis.call('ZADD', change.index, 0, entry .. change.id) end
  end
  remove_references(old, change.referring, change.id)
  -- the score is the moment since when it refers
  for line in lines(change.references) do
    redis.call('ZADD', change.referring .. line, whole(change.at), change.id)
  end
  index_for_searches(change, old)
end

-- The audit entries of what this call accepts are one record for each journal: with the change, or neither.
-- A long one is divided: `unpack` has a limit.
local audited = {}
local function audit(change, interaction)
  if change.audited == '' then return end
  local record = audited[change.journal] or {}
  if #record >= 2000 then
    redis.call('XADD', change.journal, '*', unpack(record))
    record = {}
  end
  audited[change.journal] = record
  local n = #record
  record[n + 1], record[n + 2] = 'change', change.audited
  record[n + 3], record[n + 4] = 'state', change.version .. ' ' .. interaction
end

local function log(change, interaction, previous)
  local state = table.concat({change.version, previous, interaction, change.release,
    whole(change.at)}, ' ')
  redis.call('XADD', change.partition.log, '*', 'change', state .. '\n' .. change.logged)
  if change.digest ~= '' then
    redis.call('SET', change.idempotency, change.digest .. ' ' .. change.version .. ' '
      .. whole(change.at), 'PX', keep_ms)
  end
end

local function report(change)
  redis.call('SET', change.resource .. ':event', change.request_id .. ' ' .. whole(change.at), 'PX',
    keep_ms)
  -- the event needs the version, however old it is
  local member = string.match(change.resource, ':resource:(.+)$')
  redis.call('ZADD', change.partition.held, whole(change.at), member .. '/' .. change.version)
  log(change, 'update', '-')
  audit(change, 'report')
  count_accepted(change, 'update')
  return {'reported', tonumber(change.version), change.at}
end

local STATUS = {create = 'created', update = 'updated', delete = 'deleted'}
local function write(change)
  if change.op == 'event' then return report(change) end
  local interaction = change.interaction
  if change.superseded then
    redis.call('RENAME', change.resource, change.resource .. '/' .. change.superseded.version)
  end
  index(change)
  redis.call('SET', change.resource, change.version .. ' ' .. change.release .. ' ' .. interaction .. ' '
    .. whole(change.at) .. ' ' .. change.request_id .. ' ' .. #change.identifiers .. ' '
    .. #change.references .. ' ' .. #change.sets .. '\n'
    .. change.identifiers .. change.references .. change.sets
    .. (interaction == 'delete' and '' or change.text))
  log(change, interaction, change.previous)
  audit(change, interaction)
  count_accepted(change, interaction)
  if change.at > now then change.partition.latest = math.max(change.partition.latest or 0, change.at) end
  return {STATUS[interaction], tonumber(change.version), change.at}
end

-- Whether a partition takes no more changes because its matcher is stopped or too slow. What this call adds
-- does not count.
local function is_full(partition)
  if partition.is_full == nil then
    local logged = 0
    for _, number in ipairs(redis.call('HMGET', partition.counters, unpack(LOGGED))) do
      logged = logged + tonumber(number or '0')
    end
    local matched = tonumber(redis.call('HGET', partition.matching, 'matched') or '0')
    partition.is_full = logged - matched >= max_unmatched
  end
  return partition.is_full
end

local function answer_without_write(change)
  return check(change) or (is_full(change.partition) and {'full', 0, 0}) or nil
end

local changes, answers, is_refused = {}, {}, false
for n = 1, (#ARGV - FIRST_FIELD) / FIELDS do
  local a, k = FIRST_FIELD + (n - 1) * FIELDS, FIRST_KEY + (n - 1) * KEYS_EACH
  local change = cmsgpack.unpack(ARGV[a + 1])
  change.logged, change.text, change.audited = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  change.partition = partitions[change.place]
  change.resource, change.index, change.idempotency, change.referring = unpack(KEYS, k + 1, k + 4)
  change.journal, change.search, change.types = KEYS[k + 5], KEYS[k + 6], KEYS[k + 7]
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
send_added()
for journal, record in pairs(audited) do redis.call('XADD', journal, '*', unpack(record)) end
for _, partition in ipairs(partitions) do
  local written = tonumber(redis.call('HGET', partition.moments, 'written') or '0')
  if (partition.latest or 0) > written then
    redis.call('HSET', partition.moments, 'written', whole(partition.latest))
  end
  for interaction, number in pairs(partition.accepted) do
    count(partition.counters, 'changes_accepted:' .. interaction, number)
  end
end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return answers
