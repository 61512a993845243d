-- Replaces the member of a dead event by one that says the same, sealed under another key.
-- KEYS     dead letters of a subscription
-- ARGV     the member as it was read, the member to store, the number of the event
-- Returns  1, or 0 if it is not what was read any more: nothing is written
-- Repeat   yes; a call that was executed is answered with 1 again
local is_before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not is_before and not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
-- also for a repeated call, so that its caller waits for the disk
if ARGV[1] ~= ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
return 1
