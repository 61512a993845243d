-- Stores or deletes a topic that a client put through the API, and notifies every process.
-- KEYS     topics of the tenant: id -> `version moment request\n` tail | tenants with topics
--          | deleted topics of the tenant: id -> version of the deletion
-- ARGV     op create|put|delete, tenant, id, request id, if_match, if_none_match (`meets_preconditions`),
--          tail (`UnversionedResource`), channel, message
-- Returns  {status, version, moment}: created updated deleted replayed | exists absent conflict
-- Repeat   yes; a request that stored the current version is answered again. It then writes something all the
--          same: a caller that waits for the disk or for replicas then waits for the first write too
local op, tenant, id, request, tail = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local now = now_ms()
local held = redis.call('HGET', KEYS[1], id)
local version, updated, stored_by = string.match(held or '', '^(%d+) (%d+) (%S+)')
if stored_by == request then
  redis.call('HSET', KEYS[1], id, held)
  return {'replayed', tonumber(version), tonumber(updated)}
end
if op == 'create' and held then return {'exists', tonumber(version), 0} end
if not meets_preconditions(ARGV[5], ARGV[6], version) then
  return {'conflict', tonumber(version or '0'), 0}
end
local status
if op == 'delete' then
  if not held then return {'absent', 0, 0} end
  redis.call('HDEL', KEYS[1], id)
  redis.call('HSET', KEYS[3], id, whole(tonumber(version) + 1))
  if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], tenant) end
  status = 'deleted'
else
  -- a version that was deleted is not given out again: its ETag must not fit the new document
  version = version or redis.call('HGET', KEYS[3], id) or '0'
  status, version = held and 'updated' or 'created', tonumber(version) + 1
  redis.call('HDEL', KEYS[3], id)
  redis.call('HSET', KEYS[1], id, whole(version) .. ' ' .. whole(now) .. ' ' .. request .. '\n' .. tail)
  redis.call('SADD', KEYS[2], tenant)
end
redis.call('PUBLISH', ARGV[8], ARGV[9])
return {status, tonumber(version), now}
