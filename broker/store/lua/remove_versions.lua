-- Removes versions that nothing needs any more, and the entries of the changes stream that led to them.
-- KEYS     changes stream | set of held versions, then for each version: resource, identifier index, prefix
--          of the reference sets, prefix of the search sets
-- ARGV     horizon: a moment before which nothing needs a version (ms), id of the oldest entry to keep in the
--          stream, or '' if the versions are not from the stream but were held, then for each version:
--          member of the resource, its id, number of the version, how long the current version stays beyond
--          the horizon (ms, or '' for ever)
-- Returns  how many versions were removed
-- Repeat   yes
-- An entry of the stream before the horizon made its version and superseded the one before. Of a held version
-- neither is known: it may be young, and held since an older event.
local FIELDS, KEYS_EACH = 4, 4
local horizon, is_from_stream, removed = tonumber(ARGV[1]), ARGV[2] ~= '', 0

-- When the version was held; nil if that is past, or if it never was.
local function held_at(name)
  local score = tonumber(redis.call('ZSCORE', KEYS[2], name) or '')
  return score and score >= horizon and score or nil
end

-- Whether the version after `number` was written before the horizon, or is gone.
local function is_long_superseded(resource, head, number)
  local successor = head
  if not head or head.version ~= whole(number + 1) then
    successor = read_head(resource .. '/' .. whole(number + 1))
  end
  return not successor or tonumber(successor.at) < horizon
end

for n = 1, (#ARGV - 2) / FIELDS do
  local a, k = 2 + (n - 1) * FIELDS, 2 + (n - 1) * KEYS_EACH
  local member, id, version, stays_ms = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local resource, number = KEYS[k + 1], tonumber(version)
  local name, before = member .. '/' .. version, member .. '/' .. whole(number - 1)
  if not held_at(name) then
    local was_held = redis.call('ZREM', KEYS[2], name) == 1
    local head = read_head(resource)
    if head and head.version == version then
      local leaves_at = tonumber(head.at) + tonumber(stays_ms ~= '' and stays_ms or '0')
      if head.interaction == 'delete' or (stays_ms ~= '' and leaves_at < horizon) then
        remove_identifiers(head, KEYS[k + 2], id)
        remove_references(head, KEYS[k + 3], id)
        remove_from_sets(head, KEYS[k + 4], id)
        redis.call('ZREM', KEYS[k + 4] .. 'v', id .. ' ' .. version)
        removed = removed + redis.call('UNLINK', resource)
      elseif stays_ms ~= '' then
        redis.call('ZADD', KEYS[2], whole(leaves_at), name)
      end
    elseif was_held and is_long_superseded(resource, head, number) then
      removed = removed + redis.call('UNLINK', resource .. '/' .. version)
      redis.call('ZREM', KEYS[k + 4] .. 'v', id .. ' ' .. version)
    end
  end
  if is_from_stream and number > 1 and not held_at(before) then
    removed = removed + redis.call('UNLINK', resource .. '/' .. whole(number - 1))
    redis.call('ZREM', KEYS[k + 4] .. 'v', id .. ' ' .. whole(number - 1))
  end
end
if is_from_stream then redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2]) end
return removed
