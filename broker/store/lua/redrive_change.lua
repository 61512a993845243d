-- Redrives a change that is a dead letter: logs it again, because an outbox takes no change older than its
-- last one of the partition. The new entry has the field `redriven`; its moment is that of the first
-- acceptance.
-- KEYS     dead letters of the tenant | changes stream | counters of the partition | key of the version | key
--          of the version before it
-- ARGV     entry id of the dead letter, how long superseded versions are kept (ms)
-- Returns  accepted | absent | unkept (the version is not stored any more; the dead letter stays)
-- Repeat   yes
local dead_letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not dead_letter then return 'absent' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'unkept' end
for k = 4, #KEYS do
  if redis.call('PTTL', KEYS[k]) > 0 then redis.call('PEXPIRE', KEYS[k], ARGV[2]) end
end
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
