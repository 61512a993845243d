-- Removes matched changes that are too old or too many, the oldest first. A change that is not matched stays,
-- however old it is.
-- KEYS     changes stream
-- ARGV     consumer group, retention ms, most changes to keep, most entries to remove
-- Returns  how many were removed
-- Repeat   yes
local last_read
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for f = 1, #group, 2 do
    if group[f] == 'last-delivered-id' then last_read = group[f + 1] end
  end
end
if not last_read then return 0 end
local horizon = now_ms() - tonumber(ARGV[2])
local excess, max_entries = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[3]), tonumber(ARGV[4])
local first_pending = redis.call('XPENDING', KEYS[1], ARGV[1])[2]
local keep
for n, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', max_entries + 1)) do
  local is_pending = first_pending and not is_after(first_pending, entry[1])
  local is_unmatched = is_pending or is_after(entry[1], last_read)
  local is_wanted = n > excess and entry_number(entry[1]) >= horizon
  keep = entry[1]
  if is_unmatched or is_wanted or n > max_entries then break end
  keep = nil
end
if keep then return redis.call('XTRIM', KEYS[1], 'MINID', '=', keep) end
-- every entry may go, and there are no more than these
return redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
