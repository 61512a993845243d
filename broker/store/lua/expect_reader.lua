-- Records that an open connection reads the outbox of a subscription for a while: wakeups name it until then,
-- as they name pull subscriptions.
-- KEYS     subscription hash
-- ARGV     for how long (ms)
-- Returns  1, or 0 for a subscription that does not exist
-- Repeat   yes
if redis.call('HEXISTS', KEYS[1], 'count') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'read_until', whole(now_ms() + tonumber(ARGV[1])))
return 1
