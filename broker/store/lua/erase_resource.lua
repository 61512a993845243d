-- Removes versions of a resource because of whom they are about, with all that belongs to them.
-- KEYS     set of held versions | resource | identifier index | prefix of the reference sets | prefix of the
--          search sets
-- ARGV     member of the resource, its id, number of the current version if that goes too, else '', then the
--          numbers of superseded versions
-- Returns  how many versions were removed
-- Repeat   yes
-- A current version with another number was written meanwhile, and stays.
local resource, member, removed = KEYS[2], ARGV[1], 0
local head = read_head(resource)
for n = 4, #ARGV do
  removed = removed + redis.call('UNLINK', resource .. '/' .. ARGV[n])
  redis.call('ZREM', KEYS[1], member .. '/' .. ARGV[n])
  redis.call('ZREM', KEYS[5] .. 'v', ARGV[2] .. ' ' .. ARGV[n])
end
if ARGV[3] ~= '' and head and head.version == ARGV[3] then
  remove_identifiers(head, KEYS[3], ARGV[2])
  remove_references(head, KEYS[4], ARGV[2])
  remove_from_sets(head, KEYS[5], ARGV[2])
  redis.call('ZREM', KEYS[5] .. 'v', ARGV[2] .. ' ' .. ARGV[3])
  removed = removed + redis.call('UNLINK', resource)
  redis.call('UNLINK', resource .. ':event')
  redis.call('ZREM', KEYS[1], member .. '/' .. ARGV[3])
end
return removed
