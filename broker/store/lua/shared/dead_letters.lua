-- Events of a subscription that are dead letters. Needs base.lua. They are members `<number> <moment>
-- <reason>` of a sorted set (key.dead), scored by number. Their number stands in the subscription
-- (`dead_letters`), in the tenant's index of the shard (key.index, by subscription id) and in the shard's
-- counters.

-- Updates the numbers after the sorted set has changed.
local function count_dead_letters(key)
  local number = redis.call('ZCARD', key.dead)
  local before = tonumber(redis.call('HGET', key.sub, 'dead_letters') or '0')
  local id = string.match(key.member, ':(.*)$')
  if number == 0 then
    redis.call('HDEL', key.sub, 'dead_letters')
    redis.call('HDEL', key.index, id)
  else
    redis.call('HSET', key.sub, 'dead_letters', number)
    redis.call('HSET', key.index, id, number)
  end
  count(key.counters, 'dead_letters', number - before)
end

-- The ranges 'low-high,…' without the numbers that are the keys of a table.
local function without(ranges, numbers)
  local kept = {}
  for low, high in string.gmatch(ranges, '(%d+)-(%d+)') do
    local first, last, inside = tonumber(low), tonumber(high), {}
    for n in pairs(numbers) do
      if n >= first and n <= last then inside[#inside + 1] = n end
    end
    table.sort(inside)
    for _, n in ipairs(inside) do
      if first < n then kept[#kept + 1] = whole(first) .. '-' .. whole(n - 1) end
      first = n + 1
    end
    if first <= last then kept[#kept + 1] = whole(first) .. '-' .. whole(last) end
  end
  return table.concat(kept, ',')
end

