-- Claims due subscriptions of a shard: each gets a fencing token, and is due again when its lease runs out.
-- KEYS     due set | registry stream | counters of the shard
-- ARGV     most subscriptions to claim, lease ms, bytes of resources a notification may carry, prefix of the
--          subscription hashes, prefix of the outboxes
-- Returns  {now, next due or 0, claim, …}; a claim is {record, outbox entries}, see `claim_of` in
--          next_notification.lua
-- Repeat   yes; what the lost reply claimed is due again when its lease runs out
local now = now_ms()
local answer = {whole(now), '0'}
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, member in ipairs(members) do
  local key = {member = member, due = KEYS[1], registry = KEYS[2], counters = KEYS[3],
    sub = ARGV[4] .. member, outbox = ARGV[5] .. member}
  local s = load(key.sub)
  if not s then
    redis.call('ZREM', KEYS[1], member)
  else
    answer[#answer + 1] = take(key, s, now, tonumber(ARGV[2]), tonumber(ARGV[3]))
    save(key, s)
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then answer[2] = first[2] end
return answer
