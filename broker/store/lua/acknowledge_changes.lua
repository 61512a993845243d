-- Marks changes as matched: they leave what is pending, and are not read again.
-- KEYS     changes stream | counters of the partition
-- ARGV     consumer group, then change ids
-- Returns  how many were pending
-- Repeat   yes
local acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
count(KEYS[2], 'changes_matched', acknowledged)
return acknowledged
