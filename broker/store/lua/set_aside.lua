-- Sets a change aside that can't be matched: it leaves what is pending and becomes a dead letter, both or neither, once.
-- KEYS: lease hash of the partition (hold.lua) | changes stream | stream of changes set aside
-- ARGV: lease token, consumer group, change id, why
-- Answers 1; 0 if it is pending no more (an earlier call did it); -1 if a newer matcher holds the partition.
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return -1 end
local entry = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])[1]
if redis.call('XACK', KEYS[2], ARGV[2], ARGV[3]) == 0 or not entry then return 0 end
redis.call('XADD', KEYS[3], '*', 'c', ARGV[3], 'w', ARGV[4], unpack(entry[2]))
return 1
