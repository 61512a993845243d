-- The log of the attempts to send notifications of one subscription. Needs base.lua. Attempts that failed
-- have a stream of their own, so that many successes do not displace them. An entry has one field: its name
-- is the digest under which `requests` has what was sent besides the body, its value a record that scripts do
-- not read (`AttemptRecord` in attempt_records.py). Entries of one request share the name, so it costs
-- nothing. `texts` has the packed texts of attempts by `<kind><entry id>`.
--
-- `log` holds the names of the keys: d (stream of attempts that delivered), f (of those that failed),
-- requests, texts. An attempt in ARGV is kind d or f, digest, request, record, text or ''.
local ATTEMPT_PARTS = 5

-- Removes the texts of the oldest entries that will go once the stream keeps `left` of them.
local function forget_texts(log, kind, left)
  local excess = redis.call('XLEN', log[kind]) - left
  if excess <= 0 then return end
  for _, entry in ipairs(redis.call('XRANGE', log[kind], '-', '+', 'COUNT', excess)) do
    redis.call('HDEL', log.texts, kind .. entry[1])
  end
end

-- Writes the attempts whose parts begin at `from`; `max` has how many the streams d and f keep, and
-- `has_texts`: '1' where attempts may have texts. With `only_new`, an attempt that is the last entry of its
-- stream already is not written again. A request that is '' is stored already.
local function write_attempts(log, arguments, from, number, max, only_new)
  for n = 0, number - 1 do
    local at = from + n * ATTEMPT_PARTS
    local kind, digest, record, text = arguments[at], arguments[at + 1], arguments[at + 3], arguments[at + 4]
    local last = only_new and redis.call('XREVRANGE', log[kind], '+', '-', 'COUNT', 1)[1]
    if not last or last[2][1] ~= digest or last[2][2] ~= record then
      if max.has_texts == '1' then forget_texts(log, kind, max[kind] - 1) end
      if arguments[at + 2] ~= '' then redis.call('HSETNX', log.requests, digest, arguments[at + 2]) end
      local id = redis.call('XADD', log[kind], 'MAXLEN', '=', max[kind], '*', digest, record)
      if text ~= '' then redis.call('HSET', log.texts, kind .. id, text) end
    end
  end
end
