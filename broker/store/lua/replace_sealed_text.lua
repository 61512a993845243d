-- Replaces a sealed text, of a quarantined reading or an attempt, by the same under another key.
-- KEYS     hash of sealed texts
-- ARGV     name of the text, the text as it was read, the one to store
-- Returns  1, or 0 if they are not what was read any more: nothing is written
-- Repeat   yes; a call that was executed is answered with 1 again
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held ~= ARGV[2] and held ~= ARGV[3] then return 0 end
-- also for a repeated call, so that its caller waits for the disk
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
