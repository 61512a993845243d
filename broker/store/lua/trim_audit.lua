-- Removes the oldest blocks of an audit trail; the digest before the first kept entry stays, so that the rest
-- can be verified.
-- KEYS     head hash | chain stream
-- ARGV     number of the first entry to keep, digest of the entry before it
-- Returns  how many blocks were removed
-- Repeat   yes
local before = tonumber(ARGV[1]) - 1
if tonumber(redis.call('HGET', KEYS[1], 'anchor') or '0') >= before then return 0 end
redis.call('HSET', KEYS[1], 'anchor', string.format('%.0f', before), 'anchor_digest', ARGV[2])
return redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[1] .. '-0')
