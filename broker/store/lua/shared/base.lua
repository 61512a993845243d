-- The store's time, numbers as text, ids of stream entries, and counters.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A number without exponent or fraction, as commands take it.
local function whole(n) return string.format('%.0f', n) end

-- The first number of an entry id: the event number in an outbox, milliseconds elsewhere.
local function entry_number(id) return tonumber(string.match(id, '^(%d+)')) end

-- Whether entry id `a` comes after entry id `b` in a stream.
local function is_after(a, b)
  local a_ms, a_sequence = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_sequence = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms > b_ms or (a_ms == b_ms and tonumber(a_sequence) > tonumber(b_sequence))
end

-- Adds to a counter of a partition, a shard or the inbox; `broker/store/counters.py` lists and reads them.
local function count(counters, name, by)
  if by ~= 0 then redis.call('HINCRBY', counters, name, whole(by)) end
end
