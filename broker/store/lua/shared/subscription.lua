-- The subscription hash, and the changes that several scripts make to it. Needs base.lua.
--
-- Moments are milliseconds since 1970 by the store's clock. Fields of the hash:
--   model, created                    the document as last registered; moment of the creation
--   signing_secrets, secrets_id       sealed secrets that sign notifications, and an id that changes with
--                                     them
--   version, updated                  version of the resource and moment of it: a new one with each document
--                                     and each status
--   owner                             the client that created it
--   revision                          id of the request that stored the document; a new status keeps it
--   status, activated                 the status machine; moment of the first activation since the
--                                     subscription was created or off, or ''
--   count, cursor                     last event number; last event number that was delivered or passed over
--   max_count, heartbeat_ms, ends     events a notification may carry, heartbeat period, moment of the end
--                                     (0: none)
--   carries_resources                 1: notifications contain resources
--   is_pull                           1: the subscriber reads the outbox; the broker sends nothing
--   read_until                        until when open connections that read the outbox are expected
--   claim_state                       in-flight: a dispatcher is sending; backoff: the next attempt waits; or
--                                     ''
--   token                             fencing token of the newest claim; a new subscription starts with the
--                                     time in microseconds, above the tokens of a deleted subscription with
--                                     its id
--   last_commit                       by how much the token has grown since the one that was committed last:
--                                     0, or more where that commit claimed; '' where another claim followed
--   notification, pinned_revision     the notification under way, pinned so that each attempt sends the same:
--                                     `<type> <last event>`, then the moment of the first attempt if it is
--                                     not that of the token, or ''; and the revision it was made for. The
--                                     type `event` stands for event-notification
--   attempts, failing_since           failed attempts of it, and the moment of the first failure
--   build_failures                    `<pinned_at>:<n>`: how often the notification could not be built
--   resend_ranges                     event numbers to send once more: `low-high,…`
--   skipped_numbers                   dead letters after the cursor, ascending: `n,…`
--   dead_letters                      how many events are dead letters
--   gaps                              numbers that will not be delivered: `low-high:reason:moment,…`; the
--                                     reason is size, age, rollback or access
--   gap_since                         moment of the first gap since the client last stored the document
--   last_sent                         moment of the last notification
--   error_code, error_text            why delivery last failed
--   last_change:<partition>           id of the last change of that partition that was considered
--
-- `key` holds the names of the keys, as far as a script has them: member (`<tenant>:<id>`), sub (this hash),
-- outbox, due, registry, counters, dead (its dead letters), index (dead letters of its tenant in the shard).

-- Appends to the log by which matchers follow subscriptions, and wakes the open connections that follow this
-- one; `operation` is put or delete. Ids are `<ms>-<n>`: n has no gap, and the time tells an entry from a
-- lost one that had the same n.
local function announce(key, operation)
  local last = redis.call('XREVRANGE', key.registry, '+', '-', 'COUNT', 1)
  local ms, n = string.match(last[1] and last[1][1] or '0-0', '^(%d+)-(%d+)$')
  redis.call('XADD', key.registry, whole(math.max(now_ms(), tonumber(ms))) .. '-' .. whole(tonumber(n) + 1),
    'member', key.member, 'operation', operation)
  redis.call('PUBLISH', WAKE, '- ' .. key.member)
end

-- Adds a subscription to those that listings find under a label, or removes it (`keys.listed`). The set is in
-- the slot of the subscription hash.
local function list_under(key, label, is_listed)
  local tenant, id = string.match(key.member, '^([^:]*):(.*)$')
  local listed = string.match(key.sub, '^[^:]*') .. ':listed:' .. tenant
  if is_listed then redis.call('ZADD', listed, '0', label .. '\31' .. id)
  else redis.call('ZREM', listed, label .. '\31' .. id) end
end

-- Counts and lists a subscription under its new status; '' stands for a subscription that does not exist.
local function count_status(key, from, to)
  if from == to then return end
  if from ~= '' then
    count(key.counters, 'subscriptions:' .. from, -1)
    list_under(key, 'status:' .. from, false)
  end
  if to ~= '' then
    count(key.counters, 'subscriptions:' .. to, 1)
    list_under(key, 'status:' .. to, true)
  end
end

-- Records why delivery failed.
local function set_error(key, code, text)
  redis.call('HSET', key.sub, 'error_code', code, 'error_text', text)
  list_under(key, 'error', true)
end

-- Forgets why delivery last failed.
local function clear_error(key)
  redis.call('HDEL', key.sub, 'error_code', 'error_text')
  list_under(key, 'error', false)
end

-- Changes the status while the document stays, as a new version of the resource, and announces it.
local function change_status(key, from, to)
  local now = whole(now_ms())
  redis.call('HINCRBY', key.sub, 'version', 1)
  redis.call('HSET', key.sub, 'status', to, 'updated', now)
  if to == 'off' then redis.call('HSET', key.sub, 'activated', '') end
  if to == 'active' and redis.call('HGET', key.sub, 'activated') == '' then
    redis.call('HSET', key.sub, 'activated', now)
  end
  count_status(key, from, to)
  announce(key, 'put')
end

-- Where an event record (`EventRecord` in records.py) has what scripts read.
local EVENT = {TYPE = 1, ID = 2, VERSION = 3, AT = 6, SIZE = 7, INCLUDED = 8}

-- The parts of the field `notification`: type ('' for none), last event, and the moment of the first attempt
-- or nil.
local function notification_of(text)
  local notification_type, last_event, pinned_at = string.match(text or '', '^(%S+) (%d+) ?(%d*)$')
  if notification_type == 'event' then notification_type = 'event-notification' end
  return notification_type or '', tonumber(last_event) or 0, tonumber(pinned_at)
end

-- The field `notification`; without `pinned_at` its moment is that of the token.
local function notification_text(notification_type, last_event, pinned_at)
  if notification_type == '' then return '' end
  local name = notification_type == 'event-notification' and 'event' or notification_type
  return name .. ' ' .. whole(last_event) .. (pinned_at and ' ' .. whole(pinned_at) or '')
end

-- The moment of the claim with this token: that of the first attempt, unless `notification` has another one.
local function moment_of(token) return math.floor(token / 1000) end

-- Moves the cursor over events that are not delivered.
local function pass_over(key, cursor, to)
  redis.call('HSET', key.sub, 'cursor', whole(to))
  count(key.counters, 'undelivered_correction', cursor - to)
end

-- Ends the claim and forgets the notification under way, so that nothing of it is sent again.
local function cancel_notification(key)
  redis.call('HSET', key.sub, 'claim_state', '', 'notification', '', 'attempts', '0', 'failing_since', '0')
end

-- Makes the subscription due at its end only.
local function due_at_end(key, ends)
  if tonumber(ends or '0') > 0 then redis.call('ZADD', key.due, ends, key.member)
  else redis.call('ZREM', key.due, key.member) end
end

