-- A subscription that can't go on as it is: `error`, with the reason. An attempt under way loses its claim.
-- KEYS: subscription hash | due set | registry stream
-- ARGV: member, revision it is true of, error text
-- Answers 1 if it was active or requested, else 0. The subscription hash is drawn at the head of register.lua.
local held = redis.call('HMGET', KEYS[1], 'q', 'st', 'end')
if held[1] ~= ARGV[2] or (held[2] ~= 'active' and held[2] ~= 'requested') then return 0 end
redis.call('HSET', KEYS[1], 'st', 'error', 'ec', '', 'et', ARGV[3], 'busy', '', 'kind', '', 'tries', '0', 'since', '0')
redis.call('HINCRBY', KEYS[1], 'token', 1)
if tonumber(held[3] or '0') > 0 then redis.call('ZADD', KEYS[2], held[3], ARGV[1])
else redis.call('ZREM', KEYS[2], ARGV[1]) end
tell(KEYS[3], ARGV[1], 'put')
return 1
