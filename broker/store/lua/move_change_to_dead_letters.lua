-- Makes a change that can't be matched a dead letter, and moves the position of the partition to it.
-- KEYS     matching hash of the partition | changes stream | dead letters of the tenant | tenants with dead
--          letters | counters of the partition | set of held versions
-- ARGV     as of advance_position.lua, the last change is the one to move; then tenant, reason, member of the
--          resource, its version
-- Returns  as advance_position.lua
-- Repeat   yes
local moved = move_position(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local entry = moved == 1 and redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])[1]
if not entry then return math.min(1, moved) end
redis.call('XADD', KEYS[3], '*', 'change_id', ARGV[3], 'reason', ARGV[6], unpack(entry[2]))
redis.call('SADD', KEYS[4], ARGV[5])
-- a redrive needs both versions, as long as the dead letter is kept
local now = whole(now_ms())
redis.call('ZADD', KEYS[6], now, ARGV[7] .. '/' .. ARGV[8], now, ARGV[7] .. '/' .. whole(ARGV[8] - 1))
count(KEYS[5], 'dead_letters', 1)
count(KEYS[5], 'dead_letters_created', 1)
return 1
