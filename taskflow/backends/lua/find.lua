-- One step through a listing, from high to low. ARGV: the sorted set; the place that it goes on after
-- (created, id); the least `created`; how many rows to give, and to look at; JSON object of filters.
-- Returns the rows, and the place that it came to unless there is no more.

local listing, since = prefix .. ARGV[1], ARGV[4]
local wanted, looks = tonumber(ARGV[5]), tonumber(ARGV[6])
local filters = cjson.decode(ARGV[7])

local function has(values, wanted_value)
  for _, value in ipairs(values) do
    if value == wanted_value then
      return true
    end
  end
  return false
end

local function has_label(labels, tag)
  return labels:find('\0' .. tag .. '\0', 1, true) or labels:find('\0' .. tag .. '=', 1, true)
end

local function matches(id)
  local place, labels, search = unpack(redis.call('HMGET', row_key(id), 'place', 'labels', 'search'))
  if not place then
    return false
  end
  local row = (filters.status or filters.func_name) and cjson.decode(place)
  return (not filters.status or has(filters.status, row[STATUS]))
    and (not filters.func_name or filters.func_name == row[FUNC_NAME])
    and (not filters.tag or (labels and has_label(labels, filters.tag)))
    and (not filters.q or (search and search:find(filters.q, 1, true)))
end

local first = at_or_above(listing, ARGV[2], ARGV[3])
local past = redis.call('ZCOUNT', listing, since, '+inf')
local stop = math.min(past, first + looks)
if first >= stop then
  return {'[]'}
end
local entries = redis.call('ZREVRANGE', listing, first, stop - 1, 'WITHSCORES')
local all, found = next(filters) == nil, {}
for i = 1, #entries, 2 do
  local id, created = entries[i], entries[i + 1]
  if all or matches(id) then
    found[#found + 1] = id
    if #found == wanted then
      return {as_json(found), created, id}
    end
  end
end
if stop == past then
  return {as_json(found)}
end
return {as_json(found), entries[#entries], entries[#entries - 1]}
