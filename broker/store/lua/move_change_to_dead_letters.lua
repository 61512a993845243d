-- Makes a change that can't be matched a dead letter: it leaves what is pending, so that the changes behind
-- it are matched.
-- KEYS     lease hash of the partition | changes stream | dead letters of the tenant | tenants with dead
--          letters | counters of the partition | set of held versions
-- ARGV     lease token, consumer group, change id, tenant, reason, member of the resource, its version
-- Returns  1; 0 if the change is not pending any more (an earlier call moved it); -1 if a newer matcher holds
--          the partition
-- Repeat   yes
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then return -1 end
local entry = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])[1]
if redis.call('XACK', KEYS[2], ARGV[2], ARGV[3]) == 0 or not entry then return 0 end
redis.call('XADD', KEYS[3], '*', 'change_id', ARGV[3], 'reason', ARGV[5], unpack(entry[2]))
redis.call('SADD', KEYS[4], ARGV[4])
-- a redrive needs both versions, as long as the dead letter is kept
local now = whole(now_ms())
redis.call('ZADD', KEYS[6], now, ARGV[6] .. '/' .. ARGV[7], now, ARGV[6] .. '/' .. whole(ARGV[7] - 1))
count(KEYS[5], 'dead_letters', 1)
count(KEYS[5], 'dead_letters_created', 1)
return 1
