-- Copies a lease's token next to the partition's stream, so that scripts can fence what a previous matcher
-- records about it.
-- KEYS     matching hash of the partition
-- ARGV     token
-- Returns  1
-- Repeat   yes; a lower token changes nothing
local held = tonumber(redis.call('HGET', KEYS[1], 'token') or '0')
if tonumber(ARGV[1]) >= held then redis.call('HSET', KEYS[1], 'token', ARGV[1]) end
return 1
