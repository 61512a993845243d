-- The position up to which a partition is matched. Needs base.lua.

-- Moves the position of the hash `matching` over `number` changes, unless a newer matcher holds the partition
-- or the position is not `from`. Returns 1; -1 or 0 in these cases; 2 if an earlier call moved it to `to`.
local function move_position(matching, token, from, to, number)
  local held = redis.call('HMGET', matching, 'token', 'position', 'matched')
  if tonumber(held[1] or '0') > tonumber(token) then return -1 end
  if held[2] == to then return 2 end
  if (held[2] or '0-0') ~= from then return 0 end
  redis.call('HSET', matching, 'position', to, 'matched', whole(tonumber(held[3] or '0') + number))
  return 1
end
