-- Takes or renews leases; a lease that changes hands gets a higher fencing token.
-- KEYS     hash of leases: name -> `owner token until`
-- ARGV     owner, ms to live, then the names
-- Returns  a token for each name; minus the ms left where the lease of another owner still runs
-- Repeat   yes
-- A token is no lower than the moment it was given out: a failover may forget the tokens before it.
local now = now_ms()
local tokens = {}
for n = 3, #ARGV do
  local owner, token, ends = string.match(redis.call('HGET', KEYS[1], ARGV[n]) or '', '^(%S+) (%d+) (%d+)$')
  token, ends = tonumber(token or '0'), tonumber(ends or '0')
  if owner and owner ~= ARGV[1] and ends > now then
    tokens[n - 2] = now - ends
  else
    if owner ~= ARGV[1] or ends <= now then token = math.max(token + 1, now) end
    local until_ms = whole(now + tonumber(ARGV[2]))
    redis.call('HSET', KEYS[1], ARGV[n], ARGV[1] .. ' ' .. whole(token) .. ' ' .. until_ms)
    tokens[n - 2] = token
  end
end
return tokens
