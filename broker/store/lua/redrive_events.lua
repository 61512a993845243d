-- Redrives dead letters of a subscription: the events are delivered after all, under their numbers. An event
-- after the cursor is delivered in its turn; the others are sent once more (`resend_ranges`) and stay dead
-- letters until they are delivered.
-- KEYS     subscription hash | due set | dead letters | index of dead letters | outbox stream | counters of
--          the shard
-- ARGV     member, most bytes of ranges, wakeup channel, shard, then event numbers in ascending order
-- Returns  inactive | full (nothing is written), or for each number accepted | absent | unkept
-- Repeat   yes; numbers that wait to be sent once more are not added again
local key = {sub = KEYS[1], dead = KEYS[3], index = KEYS[4], counters = KEYS[6], member = ARGV[1]}
local held = redis.call('HMGET', key.sub, 'status', 'resend_ranges', 'claim_state', 'cursor',
  'skipped_numbers')
if held[1] ~= 'active' then return 'inactive' end
local ranges, cursor = held[2] or '', tonumber(held[4])
local waiting = {}
for low, high in string.gmatch(ranges, '(%d+)-(%d+)') do
  waiting[#waiting + 1] = {tonumber(low), tonumber(high)}
end

local function is_waiting(n)
  for _, range in ipairs(waiting) do
    if n >= range[1] and n <= range[2] then return true end
  end
  return false
end

local answers, runs, in_turn, redriven = {}, {}, {}, 0
for a = 5, #ARGV do
  local n = tonumber(ARGV[a])
  if redis.call('ZCOUNT', key.dead, n, n) == 0 then
    answers[#answers + 1] = 'absent'
  elseif #redis.call('XRANGE', KEYS[5], ARGV[a] .. '-0', ARGV[a] .. '-0') == 0 then
    answers[#answers + 1] = 'unkept'
  else
    answers[#answers + 1] = 'accepted'
    if n > cursor then
      in_turn[n] = true
      redriven = redriven + 1
    elseif not is_waiting(n) then
      local last = runs[#runs]
      if last and last[2] == n - 1 then last[2] = n else runs[#runs + 1] = {n, n} end
      redriven = redriven + 1
    end
  end
end
for _, run in ipairs(runs) do
  ranges = ranges .. (ranges == '' and '' or ',') .. whole(run[1]) .. '-' .. whole(run[2])
end
if #ranges > tonumber(ARGV[2]) then return 'full' end
if #runs > 0 then redis.call('HSET', key.sub, 'resend_ranges', ranges) end
if next(in_turn) then
  local skipped = {}
  for n in string.gmatch(held[5] or '', '%d+') do
    if not in_turn[tonumber(n)] then skipped[#skipped + 1] = n end
  end
  redis.call('HSET', key.sub, 'skipped_numbers', table.concat(skipped, ','))
  for n in pairs(in_turn) do redis.call('ZREMRANGEBYSCORE', key.dead, n, n) end
  count_dead_letters(key)
end
count(key.counters, 'dead_letters_redriven', redriven)
if held[3] == '' and redriven > 0 then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return answers
