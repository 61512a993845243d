-- Whether the current version meets the preconditions of a request (model/precondition.py). Each is '' for
-- none, '*' for any version, or versions separated by blanks; `version` is nil or false where the
-- resource does not exist.
local function is_named(versions, version)
  if not version then return false end
  if versions == '*' then return true end
  for named in string.gmatch(versions, '%S+') do
    if named == version then return true end
  end
  return false
end

local function meets_preconditions(if_match, if_none_match, version)
  return (if_match == '' or is_named(if_match, version))
    and (if_none_match == '' or not is_named(if_none_match, version))
end
