-- Writes attempts that no claim stands for: what was sent over an open connection, and trials.
-- KEYS     subscription hash | attempts that delivered | attempts that failed | their requests | their texts
-- ARGV     how many attempts that delivered are kept, and how many that failed, 1 if attempts may have texts;
--          then the attempts, each as attempts.lua says
-- Returns  1, or 0 for a subscription that does not exist: nothing is written
-- Repeat   yes; an attempt that is the last one of its stream is not written again
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local log = {d = KEYS[2], f = KEYS[3], requests = KEYS[4], texts = KEYS[5]}
local max = {d = ARGV[1], f = ARGV[2], has_texts = ARGV[3]}
write_attempts(log, ARGV, 4, (#ARGV - 3) / ATTEMPT_PARTS, max, true)
return 1
