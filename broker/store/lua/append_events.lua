-- Numbers events and appends them to outboxes.
-- KEYS     fence hash | due set | registry stream | counters of the shard, then subscription hash and outbox
--          stream of each subscription
-- ARGV     partition, lease token, wakeup channel, shard, most events an outbox may hold, how many events of
--          the partition the caller knows this shard to have numbered; then for each subscription its member
--          and the count of its events, and for each event change id and record (`EventRecord` in
--          records.py)
-- Returns  {number of events added, how many the shard has numbered from the partition, then member, first
--          and last number of the gap of each subscription that lost events}. The first is -1 if a newer
--          matcher holds the partition, -2 if the shard has forgotten what it numbered
-- Repeat   yes; each outbox keeps, for each partition, the last change id it considered, and older ones are
--          passed over. A repetition writes something all the same: a caller that waits for replicas then
--          waits for the first write too
-- Publishes the shard and the members of the subscriptions that got events and are read by open connections
-- (expect_reader.lua) or are pull subscriptions. An outbox that is full forgets delivered events; when too
-- many wait, the oldest are given up (gaps.lua). In `error` it keeps nine tenths of them, so that a
-- subscriber that comes back finds room under what goes on arriving.
local FIELDS, TRIM_EVERY, MAX_GIVEN_UP = 2, 100, 5000
local partition, token, max_events = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])
local token_field, numbered_field = 'token:' .. partition, 'numbered:' .. partition
local last_change = 'last_change:' .. partition
local fence = redis.call('HMGET', KEYS[1], token_field, numbered_field)
local newest_token, numbered = tonumber(fence[1] or '0'), tonumber(fence[2] or '0')
if token < newest_token then return {-1, 0} end
if numbered < tonumber(ARGV[6]) then return {-2, 0} end
if token > newest_token then redis.call('HSET', KEYS[1], token_field, ARGV[2]) end
local now = now_ms()
local answer = {0, 0}

-- Gives up the oldest events if too many wait after `cursor`. Returns the cursor.
local function enforce_limit(key, status, cursor, last)
  local limit = status == 'error' and max_events - math.ceil(max_events / 10) or max_events
  if last - cursor <= limit then return cursor end
  local excess = math.min(MAX_GIVEN_UP, last - cursor - numbers_without_event(key, cursor) - limit)
  if excess < 1 then return cursor end
  local waiting = redis.call('XRANGE', key.outbox, whole(cursor + 1) .. '-0', '+', 'COUNT', excess)
  if #waiting == 0 then return cursor end
  local given_up = entry_number(waiting[#waiting][1])
  local low, high = give_up(key, cursor, given_up, 'size', now)
  for _, part in ipairs({key.member, low, high}) do answer[#answer + 1] = part end
  return given_up
end

local added, has_due, readers, k, a = 0, false, {}, 5, 7
while k <= #KEYS do
  local sub, outbox, member, events = KEYS[k], KEYS[k + 1], ARGV[a], tonumber(ARGV[a + 1])
  a = a + 2
  local held = redis.call('HMGET', sub, 'status', 'activated', 'count', last_change, 'claim_state', 'is_pull',
    'cursor', 'read_until')
  local status = held[1]
  -- counted while active or in error, and while a re-activation is under way (R-272; `Activation` in
  -- model/eligibility.py)
  if status == 'active' or status == 'error' or (status == 'requested' and held[2] ~= '') then
    local number, last, before = tonumber(held[3]), held[4] or '0-0', added
    for e = 0, events - 1 do
      local f = a + e * FIELDS
      if is_after(ARGV[f], last) then
        number, last = number + 1, ARGV[f]
        redis.call('XADD', outbox, whole(number) .. '-0', 'event', ARGV[f + 1])
        added = added + 1
      end
    end
    if added > before then
      redis.call('HSET', sub, 'count', whole(number), last_change, last)
      local is_read = held[6] == '1' or tonumber(held[8] or '0') > now
      if status == 'active' and is_read then readers[#readers + 1] = member end
      if status == 'active' and held[6] ~= '1' and held[5] == '' then
        redis.call('ZADD', KEYS[2], whole(now), member)
        has_due = true
      end
      local key = {member = member, sub = sub, outbox = outbox, due = KEYS[2], registry = KEYS[3],
        counters = KEYS[4]}
      local cursor = enforce_limit(key, status, tonumber(held[7]), number)
      local trims = math.floor(number / TRIM_EVERY) ~= math.floor(tonumber(held[3]) / TRIM_EVERY)
      if number - cursor <= max_events and trims then
        redis.call('XTRIM', outbox, 'MAXLEN', '~', max_events + TRIM_EVERY)
      end
    end
  end
  a = a + events * FIELDS
  k = k + 2
end
if added > 0 then
  numbered = redis.call('HINCRBY', KEYS[1], numbered_field, added)
  count(KEYS[4], 'events_appended', added)
else
  redis.call('HSET', KEYS[1], token_field, ARGV[2])
end
if has_due or #readers > 0 then
  redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. table.concat(readers, ' '))
end
answer[1], answer[2] = added, numbered
return answer
