-- Appends a block to the chain of an audit trail, if nobody else has appended since its writer read the head.
-- KEYS     head hash | chain stream
-- ARGV     number of the last entry of the chain before, that of the block's first and last entry, digest
--          before its first entry, digest of its last one, marks, compressed entries, moment of the last one;
--          then for each journal its name and the id of the last record that the block contains
-- Returns  1, or 0 if the head is another one by now: nothing is written
-- Repeat   yes; a repeated call finds the head that the first one wrote, and returns 1
local last = redis.call('HGET', KEYS[1], 'sequence') or '0'
if last ~= ARGV[1] then
  return (last == ARGV[3] and redis.call('HGET', KEYS[1], 'digest') == ARGV[5]) and 1 or 0
end
redis.call('XADD', KEYS[2], ARGV[2] .. '-0', 'previous', ARGV[4], 'digest', ARGV[5], 'marks', ARGV[6],
  'entries', ARGV[7])
redis.call('HSET', KEYS[1], 'sequence', ARGV[3], 'digest', ARGV[5], 'recorded', ARGV[8])
for n = 9, #ARGV, 2 do redis.call('HSET', KEYS[1], 'position:' .. ARGV[n], ARGV[n + 1]) end
return 1
