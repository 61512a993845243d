-- A stored resource: a string `version release interaction moment request identifiers-length
-- references-length sets-length\n`, the three lists it is indexed by (one entry a line), and its text,
-- compressed and maybe sealed (`bodies.py`). Needs nothing.
local HEAD_BYTES = 384
local NOTHING = {identifiers = '', references = '', sets = ''}

local function lines(text) return string.gmatch(text, '[^\n]+') end

-- What a resource's string has before the text; nil if there is no such resource.
local function read_head(key)
  local text = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
  if text == '' then return nil end
  local line, start = string.match(text, '^([^\n]*)\n()')
  local version, release, interaction, at, request, identifiers, references, sets =
    string.match(line or '', '^(%d+) (%S+) (%a+) (%d+) (%S+) (%d+) (%d+) (%d+)$')
  if not version then error('the head of ' .. key .. ' is damaged') end
  identifiers, references, sets = tonumber(identifiers), tonumber(references), tonumber(sets)
  local length = start - 1 + identifiers + references + sets
  if length > #text then text = redis.call('GETRANGE', key, 0, length - 1) end
  return {version = version, release = release, interaction = interaction, at = at, request = request,
    identifiers = string.sub(text, start, start + identifiers - 1),
    references = string.sub(text, start + identifiers, length - sets),
    sets = string.sub(text, length - sets + 1, length)}
end

-- Removes a resource from the identifier index.
local function remove_identifiers(head, index, id)
  for entry in lines(head.identifiers) do redis.call('ZREM', index, entry .. id) end
end

-- Removes a resource from the sets of who refers to what.
local function remove_references(head, referring, id)
  for line in lines(head.references) do redis.call('ZREM', referring .. line, id) end
end

-- Removes a resource from the sets that searches read.
local function remove_from_sets(head, search, id)
  for name in lines(head.sets) do redis.call('ZREM', search .. name, id) end
end
