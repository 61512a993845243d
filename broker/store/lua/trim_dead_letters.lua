-- Removes dead letters of a stream that are too old or too many: changes, refused inbox entries, or
-- quarantined readings.
-- KEYS     dead letters of the tenant | tenants with dead letters | counters of the partition, inbox or
--          quarantine | of readings only: hash of what is sealed
-- ARGV     tenant, horizon: the moment before which they are too old (ms), most entries to keep
-- Returns  how many were removed
-- Repeat   yes
local PAGE = 500
local oldest = whole(math.max(tonumber(ARGV[2]), 0)) .. '-0'
local max_entries = tonumber(ARGV[3])
if KEYS[4] and redis.call('EXISTS', KEYS[4]) == 1 then
  -- what XTRIM removes below, in pages, so that no call has too many arguments
  local function forget(entries)
    local ids = {}
    for n, entry in ipairs(entries) do ids[n] = entry[1] end
    if #ids > 0 then redis.call('HDEL', KEYS[4], unpack(ids)) end
    return ids[#ids]
  end
  local low, excess = '-', redis.call('XLEN', KEYS[1]) - max_entries
  while excess > 0 do
    local entries = redis.call('XRANGE', KEYS[1], low, '+', 'COUNT', math.min(PAGE, excess))
    if #entries == 0 then break end
    low, excess = '(' .. forget(entries), excess - #entries
  end
  while oldest ~= '0-0' do -- nothing is before it
    local entries = redis.call('XRANGE', KEYS[1], low, '(' .. oldest, 'COUNT', PAGE)
    if #entries == 0 then break end
    low = '(' .. forget(entries)
  end
end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest)
removed = removed + redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', ARGV[3])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
count(KEYS[3], 'dead_letters', -removed)
count(KEYS[3], 'dead_letters_trimmed', removed)
return removed
