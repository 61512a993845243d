-- Moves refused entries from the inbox to the dead letters of their tenants, each with the reason.
-- KEYS     inbox stream | tenants with dead letters | counters of the inbox, then the dead letters stream of
--          each entry
-- ARGV     consumer group, then entry id, tenant ('' for none), reason and answer (opaque) of each entry
-- Returns  how many were moved
-- Repeat   yes; an entry that is not pending any more was moved by an earlier call
local MAX_FIELDS = 200 -- names and values of an entry that are kept; a gateway may have written any number
local moved = 0
for k = 4, #KEYS do
  local a = 2 + (k - 4) * 4
  local id, tenant = ARGV[a], ARGV[a + 1]
  if redis.call('XACK', KEYS[1], ARGV[1], id) == 1 then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    local fields = entry and {unpack(entry[2], 1, math.min(#entry[2], MAX_FIELDS))} or {}
    for _, part in ipairs({'entry', id, 'reason', ARGV[a + 2], 'outcome', ARGV[a + 3]}) do
      fields[#fields + 1] = part
    end
    redis.call('XADD', KEYS[k], '*', unpack(fields))
    redis.call('XDEL', KEYS[1], id)
    if tenant ~= '' then redis.call('SADD', KEYS[2], tenant) end
    moved = moved + 1
  end
end
count(KEYS[3], 'dead_letters', moved)
count(KEYS[3], 'dead_letters_created', moved)
return moved
