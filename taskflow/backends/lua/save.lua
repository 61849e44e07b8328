-- ARGV[1]: JSON array of [id, place, others].

local rows, stored = cjson.decode(ARGV[1]), {}
-- All rows are read before the first is written: foreign data stops the script before anything is changed.
for i, row in ipairs(rows) do
  stored[i] = read(row[1])
end
for i, row in ipairs(rows) do
  local id, new, old = row[1], row[2], stored[i]
  if not old or not old[DURABLE] or (not old[OWNER] and old[STATUS] == new[STATUS]) then
    new[HELD_KEY] = old and old[HELD_KEY] or false
    put(id, old, new, row[3])
  end
end
settle()
