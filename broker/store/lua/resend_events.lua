-- Asks for delivered events to be sent once more; the notification under way is finished first.
-- KEYS     subscription hash | due set
-- ARGV     member, revision of the document the request is about, ranges 'low-high,…', most bytes of
--          ranges, wakeup channel, shard
-- Returns  accepted | changed (another document, or not active any more) | full (too many ranges wait
--          already)
-- Repeat   yes; ranges that were the last ones asked for are not added again
local held = redis.call('HMGET', KEYS[1], 'revision', 'status', 'resend_ranges', 'claim_state')
if held[1] ~= ARGV[2] or held[2] ~= 'active' then return 'changed' end
local ranges = ARGV[3]
if held[3] and held[3] ~= '' then
  if string.sub(',' .. held[3], -#ranges - 1) == ',' .. ranges then return 'accepted' end
  ranges = held[3] .. ',' .. ranges
end
if #ranges > tonumber(ARGV[4]) then return 'full' end
redis.call('HSET', KEYS[1], 'resend_ranges', ranges)
if held[4] == '' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return 'accepted'
