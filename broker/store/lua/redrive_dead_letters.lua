-- Has events that were set aside delivered after all, under their numbers. One the cursor has not come to yet takes its turn again;
-- the others go out once more (`again`, see register.lua) and are letters until they are delivered.
-- KEYS: subscription hash | due set | dead letters | index of dead letters | outbox stream
-- ARGV: member, most bytes of ranges, wake channel, shard, then event numbers in ascending order
-- Answers inactive | full (nothing is written), or one a number: accepted | absent | unkept
local key = {sub = KEYS[1], dead = KEYS[3], index = KEYS[4], member = ARGV[1]}
local held = redis.call('HMGET', KEYS[1], 'st', 'again', 'busy', 'cursor', 'skip')
if held[1] ~= 'active' then return 'inactive' end
local again, cursor = held[2] or '', tonumber(held[4])
local asked = {}
for low, high in string.gmatch(again, '(%d+)-(%d+)') do asked[#asked + 1] = {tonumber(low), tonumber(high)} end

local function is_asked(n)
  for _, range in ipairs(asked) do
    if n >= range[1] and n <= range[2] then return true end
  end
  return false
end

local answers, runs, in_turn = {}, {}, {}
for a = 5, #ARGV do
  local n = tonumber(ARGV[a])
  if redis.call('ZCOUNT', KEYS[3], n, n) == 0 then
    answers[#answers + 1] = 'absent'
  elseif #redis.call('XRANGE', KEYS[5], ARGV[a] .. '-0', ARGV[a] .. '-0') == 0 then
    answers[#answers + 1] = 'unkept'
  else
    answers[#answers + 1] = 'accepted'
    if n > cursor then
      in_turn[n] = true
    elseif not is_asked(n) then
      local last = runs[#runs]
      if last and last[2] == n - 1 then last[2] = n else runs[#runs + 1] = {n, n} end
    end
  end
end
for _, run in ipairs(runs) do
  again = again .. (again == '' and '' or ',') .. string.format('%.0f-%.0f', run[1], run[2])
end
if #again > tonumber(ARGV[2]) then return 'full' end
if #runs > 0 then redis.call('HSET', KEYS[1], 'again', again) end
if next(in_turn) then
  local skip = {}
  for n in string.gmatch(held[5] or '', '%d+') do
    if not in_turn[tonumber(n)] then skip[#skip + 1] = n end
  end
  redis.call('HSET', KEYS[1], 'skip', table.concat(skip, ','))
  for n in pairs(in_turn) do redis.call('ZREMRANGEBYSCORE', KEYS[3], n, n) end
  count_letters(key)
end
if held[3] == '' and (#runs > 0 or next(in_turn)) then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return answers
