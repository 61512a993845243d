-- Writes a lease's token down beside the partition's stream, where what is done to the stream can be fenced by it.
-- KEYS: lease hash of the partition   ARGV: token
local held = tonumber(redis.call('HGET', KEYS[1], 'token') or '0')
if tonumber(ARGV[1]) >= held then redis.call('HSET', KEYS[1], 'token', ARGV[1]) end
return 1
