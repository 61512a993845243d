-- Replaces the string of a resource by one that says the same, such as one that is sealed under another key.
-- KEYS     resource
-- ARGV     the string as it was read, the string to store
-- Returns  1, or 0 if it is not what was read any more: nothing is written
-- Repeat   yes; a call that was executed is answered with 1 again
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] and held ~= ARGV[2] then return 0 end
-- also for a repeated call, so that its caller waits for the disk
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
