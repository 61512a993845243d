-- Adds, replaces or removes the registration of a client, unless it was changed meanwhile.
-- KEYS     registrations
-- ARGV     client id, the registration to replace ('': none), the new registration ('': remove)
-- Returns  1, or 0 where the stored registration is another one
-- Repeat   yes
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[3] then return 1 end
if stored ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
