-- Logs a change that was set aside anew: outboxes take no change older than the last of its partition, so it gets a new entry.
-- KEYS: stream of changes set aside | changes stream | key of its version | key of the version before, if there is one
-- ARGV: entry id of the letter, how long superseded versions stay, ms
-- Answers accepted | absent | unkept (its version is not stored any more; the letter stays)
-- The entry has d, which says that it was logged before; its time is that of its acceptance.
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then return 'absent' end
if redis.call('EXISTS', KEYS[3]) == 0 then return 'unkept' end
for k = 3, #KEYS do
  if redis.call('PTTL', KEYS[k]) > 0 then redis.call('PEXPIRE', KEYS[k], ARGV[2]) end
end
local fields = {}
for f = 1, #letter[2], 2 do
  local name = letter[2][f]
  if name ~= 'c' and name ~= 'w' and name ~= 'd' then
    fields[#fields + 1] = name
    fields[#fields + 1] = letter[2][f + 1]
  end
end
redis.call('XADD', KEYS[2], '*', 'd', '1', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
return 'accepted'
