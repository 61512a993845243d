-- Removes attempts of a subscription that are too old or too many, and what only they referred to.
-- KEYS     attempts that delivered | attempts that failed | their requests | their texts
-- ARGV     for those that delivered: the moment before which they are too old (ms), how many are kept; the
--          same for those that failed; the moment before which texts are too old
-- Returns  1
-- Repeat   yes
local log = {d = KEYS[1], f = KEYS[2], requests = KEYS[3], texts = KEYS[4]}
local limits = {d = {horizon = ARGV[1], max = ARGV[2]}, f = {horizon = ARGV[3], max = ARGV[4]}}
local first = {}
for kind, limit in pairs(limits) do
  redis.call('XTRIM', log[kind], 'MINID', '=', limit.horizon)
  redis.call('XTRIM', log[kind], 'MAXLEN', '=', limit.max)
  local oldest = redis.call('XRANGE', log[kind], '-', '+', 'COUNT', 1)[1]
  if oldest then first[kind] = oldest[1] else redis.call('DEL', log[kind]) end
end
for _, name in ipairs(redis.call('HKEYS', log.texts)) do
  local kind, id = string.sub(name, 1, 1), string.sub(name, 2)
  local is_gone = not first[kind] or is_after(first[kind], id)
  if is_gone or entry_number(id) < tonumber(ARGV[5]) then redis.call('HDEL', log.texts, name) end
end
if redis.call('HLEN', log.requests) > (next(first) and 1 or 0) then
  local used = {}
  for kind in pairs(first) do
    for _, entry in ipairs(redis.call('XRANGE', log[kind], '-', '+')) do used[entry[2][1]] = true end
  end
  for _, digest in ipairs(redis.call('HKEYS', log.requests)) do
    if not used[digest] then redis.call('HDEL', log.requests, digest) end
  end
end
return 1
