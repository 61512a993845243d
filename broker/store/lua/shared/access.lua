-- Events that are not sent because of what the owner of a subscription may see. Needs base.lua,
-- subscription.lua and gaps.lua.

-- Removes events from the outbox and records their numbers as gaps. The numbers are ascending.
local function withhold(key, numbers, now)
  for _, number in ipairs(numbers) do
    if redis.call('XDEL', key.outbox, whole(number) .. '-0') == 1 then
      record_gap(key, number, number, 'access', now)
      count(key.counters, 'events_given_up:access', 1)
    end
  end
end
