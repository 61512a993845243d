-- Forgets events that were set aside: they will not be delivered, unless a notification with them is under way.
-- KEYS: subscription hash | dead letters | index of dead letters
-- ARGV: member, then event numbers
-- Answers how many there were.
local key = {sub = KEYS[1], dead = KEYS[2], index = KEYS[3], member = ARGV[1]}
local held = redis.call('HMGET', KEYS[1], 'again', 'kind', 'upto')
local under_way = held[2] == 'resend' and tonumber(held[3]) or 0
local first = tonumber(string.match(held[1] or '', '^(%d+)') or '0')
local dropped, numbers = 0, {}
for a = 2, #ARGV do
  local n = tonumber(ARGV[a])
  dropped = dropped + redis.call('ZREMRANGEBYSCORE', KEYS[2], n, n)
  if n < first or n > under_way then numbers[n] = true end
end
if dropped > 0 then
  if held[1] and held[1] ~= '' then redis.call('HSET', KEYS[1], 'again', without(held[1], numbers)) end
  count_letters(key)
end
return dropped
