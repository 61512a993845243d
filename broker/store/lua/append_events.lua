-- Numbers events and puts them into outboxes; a repeated call adds nothing.
-- KEYS: fence hash | due set | registry stream | then a pair a subscription: subscription hash, outbox stream
-- ARGV: partition, lease token, wake channel, shard, most events an outbox may hold, how many events of the partition
--   this shard is known to have numbered, then a subscription:
--   member, count of events, and each event as change id, type, id, version, interaction, release, ms, bytes, what goes
--     with it or ''
-- Each outbox keeps, a partition, the last change id it took: older ones were numbered by an earlier call.
-- An outbox that is full forgets delivered events; when those that wait are too many, the oldest are given up (gaps.lua).
-- In `error` it keeps nine tenths of them, so that a subscriber who comes back finds room under what goes on arriving.
-- Answers {number of events added, -1 if a newer matcher holds the partition, or -2 if the shard has forgotten what it numbered;
-- how many it has numbered from the partition; then member, first and last number given up of
-- each subscription that lost some}.
local FIELDS, TRIM_EVERY, MOST_AT_ONCE = 9, 100, 5000
local partition, token = ARGV[1], tonumber(ARGV[2])
local fence = redis.call('HMGET', KEYS[1], partition, 'n' .. partition)
local seen, numbered = tonumber(fence[1] or '0'), tonumber(fence[2] or '0')
if token < seen then return {-1, 0} end
if numbered < tonumber(ARGV[6]) then return {-2, 0} end
if token > seen then redis.call('HSET', KEYS[1], partition, ARGV[2]) end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now, most = string.format('%.0f', now_ms), tonumber(ARGV[5])

local function after(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  am, bm = tonumber(am), tonumber(bm)
  return am > bm or (am == bm and tonumber(as) > tonumber(bs))
end

local answer = {0, 0}

-- What is too many of the events that wait after `cursor` is given up, the oldest first; answers the number they wait after now.
local function bound(key, status, cursor, count)
  local limit = status == 'error' and most - math.ceil(most / 10) or most
  if count - cursor <= limit then return cursor end
  local excess = math.min(MOST_AT_ONCE, count - cursor - numbers_without_event(key.sub, cursor) - limit)
  if excess < 1 then return cursor end
  local waiting = redis.call('XRANGE', key.outbox, string.format('%.0f-0', cursor + 1), '+', 'COUNT', excess)
  if #waiting == 0 then return cursor end
  local upto = tonumber(string.match(waiting[#waiting][1], '^(%d+)'))
  local told = give_up(key, cursor, upto, 'size', now_ms)
  for _, word in ipairs({key.member, told[1], told[2]}) do answer[#answer + 1] = word end
  return upto
end

local added, woken, k, a = 0, false, 4, 7
while k <= #KEYS do
  local sub, outbox, member, events = KEYS[k], KEYS[k + 1], ARGV[a], tonumber(ARGV[a + 1])
  a = a + 2
  local held = redis.call('HMGET', sub, 'st', 'on', 'count', 'p' .. partition, 'busy', 'pull', 'cursor')
  local status = held[1]
  -- counted while active or in error, and while a re-activation is under way (R-272)
  local counts = status == 'active' or status == 'error' or (status == 'requested' and held[2] ~= '')
  if counts then
    local count, last, before = tonumber(held[3]), held[4] or '0-0', added
    for e = 0, events - 1 do
      local f = a + e * FIELDS
      if after(ARGV[f], last) then
        count, last = count + 1, ARGV[f]
        local entry = {'c', ARGV[f], 'y', ARGV[f + 1], 'i', ARGV[f + 2], 'v', ARGV[f + 3], 'x', ARGV[f + 4],
          'r', ARGV[f + 5], 'a', ARGV[f + 6], 'n', ARGV[f + 7], 'p', partition}
        if ARGV[f + 8] ~= '' then
          entry[#entry + 1] = 'k'
          entry[#entry + 1] = ARGV[f + 8]
        end
        redis.call('XADD', outbox, string.format('%.0f-0', count), unpack(entry))
        added = added + 1
      end
    end
    if added > before then
      redis.call('HSET', sub, 'count', string.format('%.0f', count), 'p' .. partition, last)
      if status == 'active' and held[6] == '1' then
        woken = true -- its readers look for themselves
      elseif status == 'active' and held[5] == '' then
        redis.call('ZADD', KEYS[2], now, member)
        woken = true
      end
      local key = {member = member, sub = sub, outbox = outbox, due = KEYS[2], registry = KEYS[3]}
      local cursor = bound(key, status, tonumber(held[7]), count)
      if count - cursor <= most and math.floor(count / TRIM_EVERY) ~= math.floor(tonumber(held[3]) / TRIM_EVERY) then
        redis.call('XTRIM', outbox, 'MAXLEN', '~', most + TRIM_EVERY)
      end
    end
  end
  a = a + events * FIELDS
  k = k + 2
end
-- a repetition writes something all the same: a caller that waits for replicas then waits for the first write too
if added == 0 then redis.call('HSET', KEYS[1], partition, ARGV[2]) end
if woken then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
if added > 0 then numbered = redis.call('HINCRBY', KEYS[1], 'n' .. partition, added) end
answer[1], answer[2] = added, numbered
return answer
