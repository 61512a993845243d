-- Redrives a refused inbox entry: puts it back on the inbox, with an idempotency key of its own unless it has
-- one.
-- KEYS     dead letters of the tenant | inbox stream | counters of the inbox
-- ARGV     entry id of the dead letter
-- Returns  accepted | absent
-- Repeat   yes
local dead_letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not dead_letter then return 'absent' end
local fields, has_key = {}, false
for f = 1, #dead_letter[2], 2 do
  local name = dead_letter[2][f]
  if name == 'key' then has_key = true end
  if name ~= 'entry' and name ~= 'reason' and name ~= 'outcome' then
    fields[#fields + 1] = name
    fields[#fields + 1] = dead_letter[2][f + 1]
  end
end
if not has_key then
  fields[#fields + 1] = 'key'
  fields[#fields + 1] = 'dead-letter-' .. ARGV[1]
end
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
count(KEYS[3], 'dead_letters', -1)
count(KEYS[3], 'dead_letters_redriven', 1)
return 'accepted'
