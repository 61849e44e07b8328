-- One step through a listing, from high to low. ARGV: the sorted set; the place that it goes on after
-- (created, id); the least `created`; how many rows to give, and to look at; JSON object of filters.
-- Returns the rows, and the place that it came to unless there is no more.

local name, since, wanted, looks = ARGV[1], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local filters = cjson.decode(ARGV[7])

local function has(values, wanted_value)
  for _, value in ipairs(values) do
    if value == wanted_value then
      return true
    end
  end
  return false
end

-- What the listing itself says is not asked of its rows.
if filters.status and has(filters.status, name) then
  filters.status = nil
elseif filters.func_name and name == 'name:' .. filters.func_name then
  filters.func_name = nil
end

local questions = {}
if filters.status or filters.func_name then
  questions.place = function(place)
    local row = cjson.decode(place)
    return (not filters.status or has(filters.status, row[STATUS]))
      and (not filters.func_name or filters.func_name == row[FUNC_NAME])
  end
end
if filters.tag then
  questions.labels = function(labels)
    return labels:find('\0' .. filters.tag .. '\0', 1, true) or labels:find('\0' .. filters.tag .. '=', 1, true)
  end
end
if filters.q then
  questions.search = function(search)
    return search:find(filters.q, 1, true)
  end
end

local function matches(id)
  for field, holds in pairs(questions) do
    local value = redis.call('HGET', row_key(id), field)
    if not value or not holds(value) then
      return false
    end
  end
  return true
end

local listing = prefix .. name
local first = at_or_above(listing, ARGV[2], ARGV[3])
local past = redis.call('ZCOUNT', listing, since, '+inf')
local stop = math.min(past, first + looks)
local found, id, created = {}, nil, nil
while first < stop and #found < wanted do
  local entries = redis.call('ZREVRANGE', listing, first, math.min(first + wanted, stop) - 1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    id, created, first = entries[i], entries[i + 1], first + 1
    if matches(id) then
      found[#found + 1] = id
      if #found == wanted then
        break
      end
    end
  end
end
if first < past then
  return {as_json(found, listed), created, id}
end
return {as_json(found, listed)}
