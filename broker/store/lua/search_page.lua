-- Reads a piece of a sorted set in the order of score and member, which may change between the pieces.
-- KEYS     sorted set
-- ARGV     up|down, lowest score, highest score, how many members, then '' or the score and the member after
--          which the piece starts; it need not be in the set any more
-- Returns  {1 if others follow in the range, else 0, member, score, ...}
-- Repeat   yes; it writes nothing
local set, is_down, low, high = KEYS[1], ARGV[1] == 'down', tonumber(ARGV[2]), tonumber(ARGV[3])
local size, after_score, after_member = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

-- Whether member `a` comes after member `b` by their bytes; `<` would compare by the locale.
local function is_greater(a, b)
  for n = 1, math.min(#a, #b) do
    local left, right = string.byte(a, n), string.byte(b, n)
    if left ~= right then return left > right end
  end
  return #a > #b
end

local function members(first, last)
  return redis.call(is_down and 'ZREVRANGE' or 'ZRANGE', set, first, last, 'WITHSCORES')
end

-- How many members come before those of a score, in the order asked for.
local function before(score)
  if is_down then return redis.call('ZCOUNT', set, '(' .. whole(score), '+inf') end
  return redis.call('ZCOUNT', set, '-inf', '(' .. whole(score))
end

local function rank_of_start()
  local edge = is_down and high or low
  if not after_score or (is_down and after_score > high) or (not is_down and after_score < low) then
    return before(edge)
  end
  local held = redis.call('ZSCORE', set, after_member)
  if held and tonumber(held) == after_score then
    return redis.call(is_down and 'ZREVRANK' or 'ZRANK', set, after_member) + 1
  end
  local rank = before(after_score)
  while true do
    local page = members(rank, rank + 99)
    for n = 1, #page, 2 do
      local is_greater_member = is_greater(page[n], after_member)
      if tonumber(page[n + 1]) ~= after_score or is_greater_member ~= is_down then return rank end
      rank = rank + 1
    end
    if #page == 0 then return rank end
  end
end

local start = rank_of_start()
local page = members(start, start + size)
local answer = {0}
for n = 1, #page, 2 do
  local score = tonumber(page[n + 1])
  if score < low or score > high then break end
  if (n + 1) / 2 > size then
    answer[1] = 1
  else
    answer[#answer + 1], answer[#answer + 2] = page[n], whole(score)
  end
end
return answer
