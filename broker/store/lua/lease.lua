-- Takes or renews leases; a lease that changes hands gets a higher fencing token.
-- KEYS: lease hashes (owner, token, until)   ARGV: owner, ms to live
-- Answers a token a key; 0 where another owner's lease still runs.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tokens = {}
for n, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'owner', 'token', 'until')
  if held[1] ~= ARGV[1] and held[1] and tonumber(held[3]) > now then
    tokens[n] = 0
  else
    local token = tonumber(held[2] or '0')
    if held[1] ~= ARGV[1] or tonumber(held[3]) <= now then token = token + 1 end
    redis.call('HSET', key, 'owner', ARGV[1], 'token', string.format('%.0f', token),
      'until', string.format('%.0f', now + tonumber(ARGV[2])))
    tokens[n] = token
  end
end
return tokens
