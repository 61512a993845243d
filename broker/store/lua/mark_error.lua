-- Sets a subscription that can't go on to `error`, with the reason. An attempt under way loses its claim.
-- KEYS     subscription hash | due set | registry stream | counters of the shard
-- ARGV     member, revision the reason is true of, error text
-- Returns  1 if the subscription was active or requested, else 0
-- Repeat   yes
local key = {sub = KEYS[1], due = KEYS[2], registry = KEYS[3], counters = KEYS[4], member = ARGV[1]}
local held = redis.call('HMGET', key.sub, 'revision', 'status', 'ends')
if held[1] ~= ARGV[2] or (held[2] ~= 'active' and held[2] ~= 'requested') then return 0 end
set_error(key, '', ARGV[3])
redis.call('HINCRBY', key.sub, 'token', 1)
cancel_notification(key)
due_at_end(key, held[3])
change_status(key, held[2], 'error')
return 1
