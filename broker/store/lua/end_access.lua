-- Turns a subscription off whose owner may not see its notifications any more. An attempt under way loses
-- its claim, and the events that wait are given up: they are not sent either when access comes back.
-- KEYS     subscription hash | outbox stream | due set | registry stream | counters of the shard
-- ARGV     member, revision the reason is true of, error text
-- Returns  {1, first and last number of the gap, if events were given up}; {0} if the subscription was stored
--          again, or was off already
-- Repeat   yes
local key = {sub = KEYS[1], outbox = KEYS[2], due = KEYS[3], registry = KEYS[4], counters = KEYS[5],
  member = ARGV[1]}
local held = redis.call('HMGET', key.sub, 'revision', 'status', 'count', 'cursor')
if held[1] ~= ARGV[2] or held[2] == 'off' or held[2] == 'entered-in-error' then return {0} end
local now, last, cursor = now_ms(), tonumber(held[3]), tonumber(held[4])
redis.call('HINCRBY', key.sub, 'token', 1)
redis.call('HDEL', key.sub, 'resend_ranges')
cancel_notification(key)
redis.call('ZREM', key.due, key.member)
set_error(key, '', ARGV[3])
change_status(key, held[2], 'off')
if last <= cursor then return {1} end
local given_up = last - cursor - numbers_without_event(key, cursor)
redis.call('XTRIM', key.outbox, 'MINID', '=', whole(last + 1) .. '-0')
local low, high = record_gap(key, cursor + 1, last, 'access', now)
pass_over(key, cursor, last)
count(key.counters, 'events_given_up:access', math.max(0, given_up))
return {1, low, high}
