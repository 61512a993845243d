-- Creates, replaces or deletes a subscription, announces it to the matchers, and sets when a dispatcher looks
-- at it.
-- KEYS     subscription hash | members of the tenant in the shard | tenants of the shard | due set | registry
--          stream | outbox stream | dead letters | index of dead letters | counters of the shard | version
--          of the deletion, which expires | number of subscriptions by owner | journal of the tenant's audit
--          trail | the keys of its log of attempts
-- ARGV     registration (msgpack map, `RegistrationRequest` in records.py), model (bytes), entry of the audit
--          trail (`encode_change` in audit_blocks.py, or '')
-- Returns  {status, version, moment}: created updated deleted replayed | exists absent conflict foreign
-- Repeat   yes; a request that stored the current document is answered again. It then writes something all
--          the same: a caller that waits for the disk or for replicas then waits for the first write too
local registration, model = cmsgpack.unpack(ARGV[1]), ARGV[2]
local op, request, status = registration.op, registration.request_id, registration.status
local members, tenants, deletion, owned = KEYS[2], KEYS[3], KEYS[10], KEYS[11]
local key = {sub = KEYS[1], due = KEYS[4], registry = KEYS[5], outbox = KEYS[6], dead = KEYS[7],
  index = KEYS[8], counters = KEYS[9], member = registration.tenant .. ':' .. registration.id}
local now = now_ms()

-- The audit entry of what this call writes: with the document, or neither.
local function audit(version, interaction)
  if ARGV[3] == '' then return end
  redis.call('XADD', KEYS[12], '*', 'change', ARGV[3], 'state', version .. ' ' .. interaction)
end

-- Counts and lists the subscription among those of a client.
local function own(owner)
  redis.call('HINCRBY', owned, owner, '1')
  list_under(key, 'owner:' .. owner, true)
end

local function disown(owner)
  if redis.call('HINCRBY', owned, owner, '-1') <= 0 then redis.call('HDEL', owned, owner) end
  list_under(key, 'owner:' .. owner, false)
end

local held = redis.call('HMGET', key.sub, 'version', 'revision', 'claim_state', 'updated', 'activated',
  'status', 'count', 'cursor', 'gap_since', 'dead_letters', 'owner')
local held_version, held_status = held[1], held[6] or ''

if held[2] == request and op ~= 'delete' then
  redis.call('HSET', key.sub, 'revision', request)
  return {'replayed', tonumber(held_version), tonumber(held[4])}
end
if op == 'create' and held_version then return {'exists', tonumber(held_version), 0} end
if held_version and registration.only_owner ~= '' and held[11] ~= registration.only_owner then
  -- its version is compared as if it did not exist: a request of another client must not tell the two apart
  local meets = meets_preconditions(registration.if_match, registration.if_none_match, nil)
  return {meets and 'foreign' or 'conflict', 0, 0}
end
if not meets_preconditions(registration.if_match, registration.if_none_match, held_version) then
  return {'conflict', tonumber(held_version or '0'), 0}
end

if op == 'delete' then
  if not held_version then return {'absent', 0, 0} end
  redis.call('DEL', key.sub, key.outbox, key.dead, unpack(KEYS, 13))
  local deleted_version, owner = whole(tonumber(held_version) + 1), held[11] or ''
  redis.call('SET', deletion, deleted_version .. ' ' .. owner, 'PX', whole(registration.keep_deleted_ms))
  redis.call('HDEL', key.index, registration.id)
  redis.call('ZREM', members, registration.id)
  disown(owner)
  list_under(key, 'error', false)
  if redis.call('EXISTS', members) == 0 then redis.call('SREM', tenants, registration.tenant) end
  redis.call('ZREM', key.due, key.member)
  count_status(key, held_status, '')
  count(key.counters, 'undelivered_correction', tonumber(held[8]) - tonumber(held[7]))
  count(key.counters, 'dead_letters', -tonumber(held[10] or '0'))
  if held[9] then count(key.counters, 'subscriptions_with_gaps', -1) end
  announce(key, 'delete')
  audit(deleted_version, 'delete')
  return {'deleted', tonumber(held_version), now}
end

-- a version that was deleted is not given out again: its ETag must not fit the new document
local version = tonumber(held_version or string.match(redis.call('GET', deletion) or '0', '%d+')) + 1
redis.call('HSET', key.sub, 'model', model, 'version', whole(version), 'updated', whole(now),
  'revision', request, 'status', status, 'max_count', whole(registration.max_count),
  'heartbeat_ms', whole(registration.heartbeat_ms), 'ends', whole(registration.ends),
  'carries_resources', registration.carries_resources and '1' or '0',
  'is_pull', registration.is_pull and '1' or '0')
if not held_version then
  redis.call('DEL', deletion)
  own(registration.owner)
  local time = redis.call('TIME')
  redis.call('HSET', key.sub, 'created', whole(now), 'owner', registration.owner, 'activated', '',
    'count', '0', 'cursor', '0', 'claim_state', '', 'token', whole(time[1] * 1000000 + time[2]))
elseif registration.new_owner ~= '' then
  disown(held[11] or '')
  own(registration.new_owner)
  redis.call('HSET', key.sub, 'owner', registration.new_owner)
end
redis.call('ZADD', members, '0', registration.id)
redis.call('SADD', tenants, registration.tenant)
count_status(key, held_status, status)
if status == 'off' or status == 'entered-in-error' then redis.call('HSET', key.sub, 'activated', '') end
if status == 'active' and (held[5] or '') == '' then redis.call('HSET', key.sub, 'activated', whole(now)) end
if held[3] ~= 'in-flight' then
  -- no attempt is under way: what waited for a retry starts afresh under the new document
  cancel_notification(key)
  if status == 'requested' then
    redis.call('ZADD', key.due, whole(now + registration.handshake_in_ms), key.member)
  else
    due_at_end(key, status == 'active' and whole(registration.ends) or '0')
  end
end
if status == 'requested' or status == 'active' then
  clear_error(key)
  redis.call('HDEL', key.sub, 'gap_since')
  if held[9] then count(key.counters, 'subscriptions_with_gaps', -1) end
end
redis.call('HDEL', key.sub, 'resend_ranges')
announce(key, 'put')
audit(whole(version), held_version and 'update' or 'create')
return {held_version and 'updated' or 'created', version, now}
