-- ARGV: JSON array of names; how many rows to give; the place that they come after (created, id), if any.

local names, limit, created, id = set_of(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local found = {}
each_ownerless(function(lane, open)
  if lane ~= '' and not names[lane] then
    return
  end
  local first = 0
  if id then -- with a byte more it is the next place above
    first = redis.call('ZCARD', open) - at_or_above(open, created, id .. '\0')
  end
  local entries = redis.call('ZRANGE', open, first, first + limit - 1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    found[#found + 1] = {id = entries[i], created = tonumber(entries[i + 1])}
  end
end)
table.sort(found, function(a, b)
  if a.created ~= b.created then
    return a.created < b.created
  end
  return precedes(a.id, b.id)
end)

local ids = {}
for i = 1, math.min(limit, #found) do
  ids[i] = found[i].id
end
return as_json(ids)
