-- Shared by commit.lua, retry_letters.lua and drop_letters.lua: the events of a subscription that were set aside.
-- They are members `<number> <ms> <why>` of a sorted set, scored by number. How many there are stands in the subscription
-- (`dead`) and, by member, in the index of the shard.

local function count_letters(key)
  local count = redis.call('ZCARD', key.dead)
  if count == 0 then
    redis.call('HDEL', key.sub, 'dead')
    redis.call('HDEL', key.index, key.member)
  else
    redis.call('HSET', key.sub, 'dead', count)
    redis.call('HSET', key.index, key.member, count)
  end
end

-- The ranges 'low-high,…' without some numbers, which are the keys of a table.
local function without(ranges, numbers)
  local kept = {}
  for low, high in string.gmatch(ranges, '(%d+)-(%d+)') do
    local first, last, inside = tonumber(low), tonumber(high), {}
    for n in pairs(numbers) do
      if n >= first and n <= last then inside[#inside + 1] = n end
    end
    table.sort(inside)
    for _, n in ipairs(inside) do
      if first < n then kept[#kept + 1] = string.format('%.0f-%.0f', first, n - 1) end
      first = n + 1
    end
    if first <= last then kept[#kept + 1] = string.format('%.0f-%.0f', first, last) end
  end
  return table.concat(kept, ',')
end
