-- Puts a stored resource into the sets of a search index that is built anew (docs/decisions/291).
-- KEYS     resource | prefix of the search sets | set of types
-- ARGV     number of the current version, its type, its id, names of the sets (one a line), date,
--          1 if the type has indexes, else 0
-- Returns  1, or 0 if the resource has another version by now: its writer has indexed it
-- Repeat   yes
local resource, search, id, names = KEYS[1], KEYS[2], ARGV[3], ARGV[4]
local head = read_head(resource)
if not head or head.version ~= ARGV[1] then return 0 end
local has_index = ARGV[6] == '1'
if head.sets ~= names then
  remove_from_sets(head, search, id)
  local text = redis.call('GET', resource)
  local line, start = string.match(text, '^([^\n]*)\n()')
  local lists = start - 1 + #head.identifiers + #head.references
  redis.call('SET', resource, string.match(line, '^(.*) %d+$') .. ' ' .. #names .. '\n'
    .. string.sub(text, start, lists) .. names .. string.sub(text, lists + #head.sets + 1), 'KEEPTTL')
end
for name in lines(names) do
  redis.call('ZADD', search .. name, string.sub(name, 1, 1) == 'm' and head.at or ARGV[5], id)
end
if has_index then redis.call('SADD', KEYS[3], ARGV[2]) end
if head.version ~= '1' then -- it may have other versions
  local version, number = head, tonumber(head.version)
  while version do
    local member = id .. ' ' .. version.version
    if has_index then
      redis.call('ZADD', search .. 'v', version.at, member)
    else
      redis.call('ZREM', search .. 'v', member)
    end
    number = number - 1
    version = read_head(resource .. '/' .. whole(number))
  end
end
return 1
