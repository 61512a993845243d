-- Records that a process runs, and reads which others do.
-- KEYS     hash of processes: id -> `until JSON`
-- ARGV     id, ms to live, JSON that describes the process
-- Returns  id and JSON of each other process that counts as running, one after the other
-- Repeat   yes
local now = now_ms()
local others, all = {}, redis.call('HGETALL', KEYS[1])
for n = 1, #all, 2 do
  local until_ms, description = string.match(all[n + 1], '^(%d+) (.*)$')
  if tonumber(until_ms) <= now then redis.call('HDEL', KEYS[1], all[n])
  elseif all[n] ~= ARGV[1] then
    others[#others + 1] = all[n]
    others[#others + 1] = description
  end
end
redis.call('HSET', KEYS[1], ARGV[1], whole(now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
return others
