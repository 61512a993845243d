-- Removes dead letters of a stream that are too old or too many: changes, or refused inbox entries.
-- KEYS     dead letters of the tenant | tenants with dead letters | counters of the partition or inbox
-- ARGV     tenant, horizon: the moment before which they are too old (ms), most entries to keep
-- Returns  how many were removed
-- Repeat   yes
local oldest = math.max(tonumber(ARGV[2]), 0)
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', whole(oldest) .. '-0')
removed = removed + redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', ARGV[3])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
count(KEYS[3], 'dead_letters', -removed)
count(KEYS[3], 'dead_letters_trimmed', removed)
return removed
