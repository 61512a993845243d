-- Renews claims while their attempts are under way.
-- KEYS     due set, then a subscription hash for each claim
-- ARGV     lease ms, then member and token of each claim
-- Returns  1 or 0 for each claim; 0: the claim was lost, and its commit will be refused
-- Repeat   yes
local until_ms = whole(now_ms() + tonumber(ARGV[1]))
local kept = {}
for n = 1, #KEYS - 1 do
  local member, token = ARGV[n * 2], ARGV[n * 2 + 1]
  local held = redis.call('HMGET', KEYS[n + 1], 'token', 'claim_state')
  if held[1] == token and held[2] == 'in-flight' then
    redis.call('ZADD', KEYS[1], until_ms, member)
    kept[n] = 1
  else
    kept[n] = 0
  end
end
return kept
