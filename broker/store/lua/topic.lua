-- Puts or deletes a topic that was given through the API, and tells every process.
-- KEYS: hash of topics, id -> `version ms request head-length\n` head tail (see `documents.split`)
-- ARGV: op create|put|delete, id, request id, expected version or '', head, tail, channel, what is told
-- Answers {status, version, ms}: created updated deleted replayed | exists absent conflict
local op, id, request = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGET', KEYS[1], id)
local version, written, by = string.match(held or '', '^(%d+) (%d+) (%S+)')
if by == request then
  redis.call('HSET', KEYS[1], id, held) -- so that a caller who waits for the disk or for replicas waits for the first write too
  return {'replayed', tonumber(version), tonumber(written)}
end
if op == 'create' and held then return {'exists', tonumber(version), 0} end
if ARGV[4] ~= '' and ARGV[4] ~= version then return {'conflict', tonumber(version or '0'), 0} end
local status
if op == 'delete' then
  if not held then return {'absent', 0, 0} end
  redis.call('HDEL', KEYS[1], id)
  status = 'deleted'
else
  status, version = held and 'updated' or 'created', tonumber(version or '0') + 1
  redis.call('HSET', KEYS[1], id, string.format('%d %.0f %s %d\n', version, now, request, #ARGV[5]) .. ARGV[5] .. ARGV[6])
end
redis.call('PUBLISH', ARGV[7], ARGV[8])
return {status, tonumber(version), now}
