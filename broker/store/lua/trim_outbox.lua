-- Drops events that are older than what is kept: delivered ones without a word, those that still wait as a gap (gaps.lua).
-- KEYS: subscription hash | outbox stream | due set | registry stream
-- ARGV: member, how long events are kept (ms), most entries to look at
-- Answers {1 if there may be more, else 0; then first and last number given up, if any were}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local horizon, most = now - tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.call('HMGET', KEYS[1], 'cursor', 'gt')
if not held[1] then return {0} end
if held[2] and tonumber(held[2]) < horizon then redis.call('HDEL', KEYS[1], 'gt') end
local old, seen, position, is_done = 0, 0, '-', false
while seen < most and not is_done do
  local page = redis.call('XRANGE', KEYS[2], position, '+', 'COUNT', seen == 0 and 1 or 500)
  is_done = #page == 0
  if is_done then break end
  for _, entry in ipairs(page) do
    local at
    for f = 1, #entry[2], 2 do
      if entry[2][f] == 'a' then at = tonumber(entry[2][f + 1]) end
    end
    is_done = at >= horizon
    if is_done then break end
    old, seen = tonumber(string.match(entry[1], '^(%d+)')), seen + 1
  end
  position = string.format('(%.0f-0', old)
end
if old == 0 then return {0} end
local answer, cursor = {is_done and 0 or 1}, tonumber(held[1])
if old > cursor then
  local key = {member = ARGV[1], sub = KEYS[1], outbox = KEYS[2], due = KEYS[3], registry = KEYS[4]}
  local told = give_up(key, cursor, old, 'age', now)
  answer[2], answer[3] = told[1], told[2]
else
  redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f-0', old + 1))
end
return answer
