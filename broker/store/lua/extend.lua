-- Keeps claims while their attempts are under way.
-- KEYS: due set, then a subscription hash a claim   ARGV: lease ms, then member and token a claim
-- Answers 1 or 0 a claim; 0: it was lost, and its commit will be refused.
local time = redis.call('TIME')
local until_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1]))
local kept = {}
for n = 1, #KEYS - 1 do
  local member, token = ARGV[n * 2], ARGV[n * 2 + 1]
  local held = redis.call('HMGET', KEYS[n + 1], 'token', 'busy')
  if held[1] == token and held[2] == 'flight' then
    redis.call('ZADD', KEYS[1], until_ms, member)
    kept[n] = 1
  else
    kept[n] = 0
  end
end
return kept
