-- ARGV[1]: JSON array of [id, place, others, {owner, status} that are expected]. Returns, of each change that
-- was not applied, its number and the id that is there instead; or nil, if the row is not as expected, and 0 if
-- there is none.

local changes, stored, refused = cjson.decode(ARGV[1]), {}, {}

local function refuse(number, holder)
  refused[#refused + 1] = number
  refused[#refused + 1] = holder
end

local function insert(number, id, new, given)
  local holder = new[HELD_KEY] and holder_of(new)
  if holder then
    refuse(number, holder)
  else
    put(id, nil, new, given)
  end
end

local function update(id, old, new, given)
  new[CREATED], new[FUNC_NAME] = old[CREATED], old[FUNC_NAME]
  new[HELD_KEY] = new[HELD_KEY] and old[HELD_KEY]
  put(id, old, new, given)
end

local function stands(row, owner, status)
  return row[OWNER] == owner and row[STATUS] == status
end

-- All rows are read before the first is written: foreign data stops the script before anything is changed.
for number, change in ipairs(changes) do
  stored[number] = read(change[1])
end
for number, change in ipairs(changes) do
  local id, new, given, expected = unpack(change)
  local old = stored[number]
  if not old then
    if expected then
      refuse(number, 0)
    else
      insert(number, id, new, given)
    end
  elseif expected and stands(old, unpack(expected)) then
    update(id, old, new, given)
  elseif not stands(old, new[OWNER], new[STATUS]) then
    refuse(number, not expected and id)
  end
end
settle()
return refused
