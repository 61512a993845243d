-- Drops matched changes that are too old or too many, the oldest first; what is not matched stays, however old.
-- KEYS: changes stream
-- ARGV: consumer group, how long changes are kept (ms), how many, most entries to drop
-- Answers how many were dropped.
local group
for _, one in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for f = 1, #one, 2 do
    if one[f] == 'last-delivered-id' then group = one[f + 1] end
  end
end
if not group then return 0 end
local time = redis.call('TIME')
local horizon = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[2])
local excess, most = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[3]), tonumber(ARGV[4])

local function is_after(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  am, bm = tonumber(am), tonumber(bm)
  return am > bm or (am == bm and tonumber(as) > tonumber(bs))
end

local pending = redis.call('XPENDING', KEYS[1], ARGV[1])[2]
local keep
for n, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', most + 1)) do
  local is_unmatched = is_after(entry[1], group) or (pending and not is_after(pending, entry[1]))
  local is_wanted = n > excess and tonumber(string.match(entry[1], '^(%d+)')) >= horizon
  keep = entry[1]
  if is_unmatched or is_wanted or n > most then break end
  keep = nil
end
if keep then return redis.call('XTRIM', KEYS[1], 'MINID', '=', keep) end
-- every one of them may go, and there are no more than those
return redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
