-- Redrives a change that is a dead letter: logs it again, because an outbox takes no change older than its
-- last one of the partition. The new entry has the field `redriven`; its moment is that of the first
-- acceptance.
-- KEYS     dead letters of the tenant | changes stream | counters of the partition | resource | set of held
--          versions
-- ARGV     entry id of the dead letter, member of the resource, its version
-- Returns  accepted | absent | unkept (the version is not stored any more; the dead letter stays)
-- Repeat   yes
local dead_letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not dead_letter then return 'absent' end
local head = read_head(KEYS[4])
if not (head and head.version == ARGV[3]) and redis.call('EXISTS', KEYS[4] .. '/' .. ARGV[3]) == 0 then
  return 'unkept'
end
local now = whole(now_ms())
redis.call('ZADD', KEYS[5], now, ARGV[2] .. '/' .. ARGV[3], now, ARGV[2] .. '/' .. whole(ARGV[3] - 1))
local fields = {}
for f = 1, #dead_letter[2], 2 do
  local name = dead_letter[2][f]
  if name ~= 'change_id' and name ~= 'reason' and name ~= 'redriven' then
    fields[#fields + 1] = name
    fields[#fields + 1] = dead_letter[2][f + 1]
  end
end
redis.call('XADD', KEYS[2], '*', 'redriven', '1', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
count(KEYS[3], 'dead_letters', -1)
count(KEYS[3], 'dead_letters_redriven', 1)
return 'accepted'
