-- Asks for delivered events to go out once more; what is under way is finished first.
-- KEYS: subscription hash | due set
-- ARGV: member, request id of the document asked about, ranges 'low-high,…', most bytes of ranges, wake channel, shard
-- Answers accepted | changed (another document, or not active any more) | full (too much waits already)
local held = redis.call('HMGET', KEYS[1], 'q', 'st', 'again', 'busy')
if held[1] ~= ARGV[2] or held[2] ~= 'active' then return 'changed' end
local again = ARGV[3]
if held[3] and held[3] ~= '' then
  -- the client library may send twice: what was asked for last is asked for once
  local asked = ',' .. held[3]
  if string.sub(asked, -#again - 1) == ',' .. again then return 'accepted' end
  again = held[3] .. ',' .. again
end
if #again > tonumber(ARGV[4]) then return 'full' end
redis.call('HSET', KEYS[1], 'again', again)
if held[4] == '' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return 'accepted'
