-- Records the moment up to which a search reads a partition: no later write gets it (docs/decisions/290).
-- KEYS     moments of the partition
-- ARGV     moment to reach at least (ms)
-- Returns  the moment: the latest of ARGV, the time, the last moment, and that of any write
-- Repeat   yes; a moment never goes back
local held = redis.call('HMGET', KEYS[1], 'read', 'written')
local moment = math.max(tonumber(ARGV[1]), now_ms(), tonumber(held[1] or '0'), tonumber(held[2] or '0'))
-- also if it stays, so that its caller waits for the disk
redis.call('HSET', KEYS[1], 'read', whole(moment))
return moment
