-- Notes how far the readers of a pull subscription have come; never back, and never for one that is delivered to.
-- KEYS: subscription hash   ARGV: event number
local held = redis.call('HMGET', KEYS[1], 'pull', 'cursor', 'count')
if held[1] ~= '1' then return 0 end
local number = math.min(tonumber(ARGV[1]), tonumber(held[3]))
if number > tonumber(held[2]) then redis.call('HSET', KEYS[1], 'cursor', string.format('%.0f', number)) end
return 1
