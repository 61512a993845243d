-- Keeps payloads of readings as dead letters; one that is kept already is not kept twice.
-- KEYS     quarantine stream of the tenant | tenants with quarantined readings | counters | sorted set of
--          what they wait for | hash of what is sealed, then the digest string of each payload
-- ARGV     tenant, how long a digest is kept (ms), then for each payload: the entry that it replaces or '',
--          reason (a slug), record (JSON), content, effective time (16 digits), what it waits for or '', the
--          name that record and content are sealed for or ''; with a name, content has both and record is ''
-- Returns  the entry id of each
-- Repeat   yes
local FIELDS, FIRST_KEY, FIRST_FIELD = 7, 5, 2
local created, ids = 0, {}
for n = 1, #KEYS - FIRST_KEY do
  local a, digest = FIRST_FIELD + (n - 1) * FIELDS, KEYS[FIRST_KEY + n]
  local replaced, waits, sealed_for = ARGV[a + 1], ARGV[a + 6], ARGV[a + 7]
  local id = redis.call('GET', digest)
  if id and (id == replaced or #redis.call('XRANGE', KEYS[1], id, id) == 0) then id = false end
  if not id then
    local is_replaced = replaced ~= '' and redis.call('XDEL', KEYS[1], replaced) == 1
    if is_replaced then redis.call('HDEL', KEYS[5], replaced) end
    local reason, record, content = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
    if sealed_for == '' then
      id = redis.call('XADD', KEYS[1], '*', 'reason', reason, 'record', record, 'content', content)
    else
      id = redis.call('XADD', KEYS[1], '*', 'reason', reason, 'sealed', sealed_for)
      redis.call('HSET', KEYS[5], id, content)
    end
    if not is_replaced then created = created + 1 end
    if waits ~= '' then redis.call('ZADD', KEYS[4], 0, waits .. ' ' .. ARGV[a + 5] .. ' ' .. id) end
  end
  redis.call('SET', digest, id, 'PX', ARGV[2])
  ids[n] = id
end
redis.call('SADD', KEYS[2], ARGV[1])
count(KEYS[3], 'dead_letters', created)
count(KEYS[3], 'dead_letters_created', created)
return ids
