-- Makes subscriptions due now whose claim is under way, because all dispatchers are gone. The next claim gets
-- a higher token all the same.
-- KEYS     due set
-- ARGV     ms for which a claim lasts, prefix of the subscription hashes
-- Returns  how many there were
-- Repeat   yes
local now = now_ms()
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), whole(now + tonumber(ARGV[1])))
local voided = 0
for _, member in ipairs(members) do
  if redis.call('HGET', ARGV[2] .. member, 'claim_state') == 'in-flight' then
    redis.call('ZADD', KEYS[1], whole(now), member)
    voided = voided + 1
  end
end
return voided
