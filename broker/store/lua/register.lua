-- Creates, replaces or deletes a subscription document, tells the matchers, and sets when a dispatcher looks at it.
-- KEYS: subscription hash | members set | due set | registry stream | outbox stream | dead letters | index of dead letters
-- ARGV: op create|put|delete, member, request id, expected version or '', model bytes, status, content_max, heartbeat ms,
--       end ms, full-resource 1|0, ms before the handshake, pull 1|0
-- Subscription hash:
--   model, v version, upd ms, q request id, created ms        the document, as last registered
--   st status, on ms of the first activation or ''            the status machine
--   count, cursor                                             last event number, last delivered
--   max, hb, end, full                                        maxCount, heartbeat ms, end ms, carries resources 1|0
--   pull                                                      1: its subscriber reads the outbox, nothing is sent to it
--   busy flight|backoff|'', token                             the claim; token fences a late commit; it starts at the
--                                                             time of creation, above those of a deleted namesake
--   done                                                      the token committed last, and the token since: 'a:b'
--   kind, upto, at, pinv                                      the notification under way, pinned for identical retries,
--                                                             and the document version it was made for
--   tries, since                                              failed attempts of it, ms of the first failure
--   unbuilt                                                   failed tries to build the notification under way, '<at>:<tries>'
--   again                                                     ranges of event numbers to send once more, 'low-high,…'
--   skip                                                      numbers after the cursor that were set aside, ascending, 'n,…'
--   dead                                                      how many events were set aside (dead letters)
--   gaps                                                      numbers no notification will carry any more, 'low-high:why:ms,…';
--                                                             why: size, age or rollback
--   gt                                                        since when there is one after the client last put the document
--   last ms of the last notification, ec error code, et error text, p<partition> last change id taken
-- Answers {status, version, ms}: created updated deleted replayed | exists absent conflict
local op, member, request, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local sub, members, due, registry, outbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = string.format('%.0f', now)
local held = redis.call('HMGET', sub, 'v', 'q', 'busy', 'upd', 'on')

if held[2] == request and op ~= 'delete' then
  redis.call('HSET', sub, 'q', request) -- so that a caller who waits for the disk or for replicas waits for the first write too
  return {'replayed', tonumber(held[1]), tonumber(held[4])}
end
if op == 'create' and held[1] then return {'exists', tonumber(held[1]), 0} end
if expected ~= '' and expected ~= held[1] then return {'conflict', tonumber(held[1] or '0'), 0} end
if op == 'delete' then
  if not held[1] then return {'absent', 0, 0} end
  redis.call('DEL', sub, outbox, KEYS[6])
  redis.call('HDEL', KEYS[7], member)
  redis.call('SREM', members, member)
  redis.call('ZREM', due, member)
  tell(registry, member, 'delete')
  return {'deleted', tonumber(held[1]), now}
end

local version, status = tonumber(held[1] or '0') + 1, ARGV[6]
redis.call('HSET', sub, 'model', ARGV[5], 'v', string.format('%.0f', version), 'upd', at, 'q', request, 'st', status,
  'max', ARGV[7], 'hb', ARGV[8], 'end', ARGV[9], 'full', ARGV[10], 'pull', ARGV[12])
if not held[1] then
  redis.call('HSET', sub, 'created', at, 'on', '', 'count', '0', 'cursor', '0', 'busy', '',
    'token', string.format('%.0f', time[1] * 1000000 + time[2]))
end
redis.call('SADD', members, member)
if status == 'off' or status == 'entered-in-error' then redis.call('HSET', sub, 'on', '') end
if status == 'active' and (held[5] or '') == '' then redis.call('HSET', sub, 'on', at) end
if held[3] ~= 'flight' then
  -- nothing is on its way: what waited for a retry starts afresh under the new document
  redis.call('HSET', sub, 'busy', '', 'kind', '', 'tries', '0', 'since', '0')
  if status == 'requested' then
    redis.call('ZADD', due, string.format('%.0f', now + tonumber(ARGV[11])), member)
  elseif status == 'active' and ARGV[9] ~= '0' then
    redis.call('ZADD', due, ARGV[9], member)
  else
    redis.call('ZREM', due, member)
  end
end
if status == 'requested' or status == 'active' then redis.call('HDEL', sub, 'ec', 'et', 'gt') end
redis.call('HDEL', sub, 'again')
tell(registry, member, 'put')
return {held[1] and 'updated' or 'created', version, now}
