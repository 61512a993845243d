-- The store went back in time: passes over the event numbers it may have given out before, in every subscription of a shard.
-- KEYS: members set | fence hash
-- ARGV: prefix of subscription hashes, id of this jump, margin, then partition and number of events known to be numbered from it
-- What was numbered and forgotten is known, partition by partition, to those who had it numbered; no subscription of the shard can
-- have had more than all of that. The margin is for those who are gone.
-- Each subscription tells the gap (gaps.lua) and stays as it is; claims of the time before are void.
-- Answers {how many events are known to be forgotten, how many subscriptions jumped}; {-1} if this jump was made already.
if redis.call('HGET', KEYS[2], 'jump') == ARGV[2] then return {-1, 0} end
local forgotten = 0
for a = 4, #ARGV, 2 do
  local held = tonumber(redis.call('HGET', KEYS[2], 'n' .. ARGV[a]) or '0')
  local known = tonumber(ARGV[a + 1])
  if held < known then
    forgotten = forgotten + known - held
    redis.call('HSET', KEYS[2], 'n' .. ARGV[a], ARGV[a + 1])
  end
end
redis.call('HSET', KEYS[2], 'jump', ARGV[2])
local by = forgotten + tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local members = redis.call('SMEMBERS', KEYS[1])
for _, member in ipairs(members) do
  local sub = ARGV[1] .. member
  local held = redis.call('HMGET', sub, 'count', 'cursor', 'token')
  if held[1] then
    local count, token = tonumber(held[1]), math.max(tonumber(held[3]) + 1, time[1] * 1000000 + time[2])
    note_gap(sub, count + 1, count + by, 'rollback', now)
    redis.call('HSET', sub, 'count', string.format('%.0f', count + by), 'token', string.format('%.0f', token))
    if held[2] == held[1] then redis.call('HSET', sub, 'cursor', string.format('%.0f', count + by)) end
  end
end
return {forgotten, #members}
