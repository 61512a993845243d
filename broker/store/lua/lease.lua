-- Takes or renews leases; a lease that changes hands gets a higher fencing token.
-- KEYS: hash of leases, name -> `owner token until`   ARGV: owner, ms to live, then the names
-- Answers a token a name; 0 where another owner's lease still runs.
-- A token is no lower than the time it was given out, in ms: a fail-over may forget the ones before it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tokens = {}
for n = 3, #ARGV do
  local owner, token, ends = string.match(redis.call('HGET', KEYS[1], ARGV[n]) or '', '^(%S+) (%d+) (%d+)$')
  token, ends = tonumber(token or '0'), tonumber(ends or '0')
  if owner and owner ~= ARGV[1] and ends > now then
    tokens[n - 2] = 0
  else
    if owner ~= ARGV[1] or ends <= now then token = math.max(token + 1, now) end
    redis.call('HSET', KEYS[1], ARGV[n], string.format('%s %.0f %.0f', ARGV[1], token, now + tonumber(ARGV[2])))
    tokens[n - 2] = token
  end
end
return tokens
