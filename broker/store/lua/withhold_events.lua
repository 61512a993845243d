-- Withholds events of a subscription that open connections read: nobody gets them.
-- KEYS     subscription hash | outbox stream | counters of the shard
-- ARGV     event numbers, ascending
-- Returns  1; 0 if there is no such subscription
-- Repeat   yes
local key = {sub = KEYS[1], outbox = KEYS[2], counters = KEYS[3]}
if redis.call('EXISTS', key.sub) == 0 then return 0 end
local numbers = {}
for n, number in ipairs(ARGV) do numbers[n] = tonumber(number) end
withhold(key, numbers, now_ms())
return 1
