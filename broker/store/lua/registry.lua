-- Shared by register, fail, claim and commit: the log by which matchers follow subscriptions.
-- Ids are `<ms>-<n>`: n has no gap, and the time tells an entry from one that was forgotten (a fail-over, data of yesterday) and had its n.
local function tell(registry, member, what)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = redis.call('XREVRANGE', registry, '+', '-', 'COUNT', 1)
  local ms, n = string.match(last[1] and last[1][1] or '0-0', '^(%d+)-(%d+)$')
  redis.call('XADD', registry, string.format('%.0f-%.0f', math.max(now, tonumber(ms)), tonumber(n) + 1), 'm', member, 'o', what)
end

