-- What every script begins with: where rows are kept, and how they change. KEYS[1] is the prefix of every
-- key, which ends in `namespace:<name>:` for every namespace but the default one. Before this text come
-- FUNC_NAME, STATUS ...: where each is in a `place`; `others`, names of fields; and `listed`, those of them
-- that a list has.
--
--   version                  the number of this layout
--   incarnation              what the store was given at random when it was made, or was emptied
--   row:<id>                 hash. place: JSON array of what the scripts go by; the `others`: a field each
--   all, name:<func_name>, <status> of rows that have ended, unfinished
--                            sorted sets: ids by `created`
--   open:<owner>\0<lane>     sorted set: ids of the unfinished rows of an owner by `created`
--   lanes:<owner>            set: the lanes that an owner has rows in, or had
--   ended                    sorted set: ids by `ended`
--   held                     hash: the id of the row that holds an idempotency key: of the first function that
--                            has a row with the key by <key>, of further ones by <key>\0<func_name>
--   declared                 sorted set: <func_name>\0<module.qualname> of the functions of running instances,
--                            by the end of that, microseconds since 1970
--   leases                   sorted set: owners by the beats of their lease; see leases.lua
--   totals                   hash: <status>:rows, <status>:timed, <status>:microseconds: how many there
--                            are, how many with a duration, and its sum
--
-- None and empty values are false, as Redis returns missing fields and as JSON can write it. Numbers are
-- text, because Lua would round microseconds.

local prefix = KEYS[1]

local function row_key(id)
  return prefix .. 'row:' .. id
end

local function open_key(owner, lane)
  return prefix .. 'open:' .. owner .. '\0' .. lane
end

-- The place of a row; nil if there is no such row.
local function read(id)
  local place = redis.call('HGET', row_key(id), 'place')
  return place and cjson.decode(place) or nil
end

-- The rows with these ids as one JSON array of [place, [id, other ...]]; of the others those that are named, or
-- all.
local function as_json(ids, names)
  local rows = {}
  for _, id in ipairs(ids) do
    local values = redis.call('HMGET', row_key(id), 'place', unpack(names or others))
    local place = values[1]
    if place then -- else the server has evicted it
      values[1] = id
      rows[#rows + 1] = '[' .. place .. ',' .. cjson.encode(values) .. ']'
    end
  end
  return '[' .. table.concat(rows, ',') .. ']'
end

-- Who may take over a row whose owner is gone: instances that have its function, or all ('').
local function lane_of(row)
  return (row[OWNER] == '' or row[DURABLE]) and row[FUNC_NAME] or ''
end

-- Which sorted sets list a row, and with which score.
local listings = {
  function(row)
    return prefix .. 'all', row[CREATED]
  end,
  function(row)
    return prefix .. 'name:' .. row[FUNC_NAME], row[CREATED]
  end,
  function(row)
    return prefix .. (row[OWNER] and 'unfinished' or row[STATUS]), row[CREATED]
  end,
  function(row)
    return row[OWNER] and open_key(row[OWNER], lane_of(row)), row[CREATED]
  end,
  function(row)
    return row[ENDED] and prefix .. 'ended', row[ENDED]
  end,
}

-- Sorted sets are changed by one call for many ids: a call for each costs several times as much.
local waiting = {ZADD = {}, ZREM = {}}

local function flush(command, key)
  redis.call(command, key, unpack(waiting[command][key]))
  waiting[command][key] = nil
end

local function later(command, key, argument, id)
  local arguments = waiting[command][key] or {}
  waiting[command][key] = arguments
  arguments[#arguments + 1] = argument
  arguments[#arguments + 1] = id
  if #arguments > 1000 then -- Lua passes some thousands at most
    flush(command, key)
  end
end

local function list(id, old, new)
  for _, listing in ipairs(listings) do
    local before, from, after, to
    if old then
      before, from = listing(old)
    end
    if new then
      after, to = listing(new)
    end
    if before and before ~= after then
      later('ZREM', before, id)
    end
    if after and (before ~= after or from ~= to) then
      later('ZADD', after, to, id)
    end
  end
end

local known = {}

-- An owner that never had a lease counts as one whose lease has expired.
local function know(owner, lane)
  local key = open_key(owner, lane)
  if not known[key] then
    known[key] = true
    redis.call('SADD', prefix .. 'lanes:' .. owner, lane)
    redis.call('ZADD', prefix .. 'leases', 'NX', 0, owner)
  end
end

local function own_field(row)
  return row[HELD_KEY] .. '\0' .. row[FUNC_NAME]
end

-- The id of the row of the same function that holds the key of a row; nil if there is none.
local function holder_of(row)
  local first = redis.call('HGET', prefix .. 'held', row[HELD_KEY])
  local holder = first and read(first)
  if holder and holder[HELD_KEY] == row[HELD_KEY] and holder[FUNC_NAME] == row[FUNC_NAME] then
    return first
  end
  return redis.call('HGET', prefix .. 'held', own_field(row)) or nil
end

-- A key belongs to its function. Earlier versions knew the plain field alone, and one function for each key:
-- what they have stored stays as it is.
local function hold(id, old, new)
  local had, has = old and old[HELD_KEY], new and new[HELD_KEY]
  if had and had ~= has then
    local plain = redis.call('HGET', prefix .. 'held', had) == id
    redis.call('HDEL', prefix .. 'held', plain and had or own_field(old))
  end
  if has and had ~= has and redis.call('HSETNX', prefix .. 'held', has, id) == 0 then
    redis.call('HSET', prefix .. 'held', own_field(new), id)
  end
end

local sums = {}

local function add(row, sign)
  local sum = sums[row[STATUS]] or {rows = 0, timed = 0, microseconds = 0}
  sums[row[STATUS]] = sum
  sum.rows = sum.rows + sign
  if row[DURATION] then
    sum.timed = sum.timed + sign
    sum.microseconds = sum.microseconds + sign * math.floor(tonumber(row[DURATION]) * 1e6 + 0.5)
  end
end

-- Every script that calls `put` or `delete` ends with this.
local function settle()
  for command, keys in pairs(waiting) do
    for key in pairs(keys) do
      flush(command, key)
    end
  end
  for status, sum in pairs(sums) do
    for name, value in pairs(sum) do
      if value ~= 0 then
        redis.call('HINCRBY', prefix .. 'totals', status .. ':' .. name, string.format('%.0f', value))
      end
    end
  end
end

-- Stores a row, of the others those that are given; `old` is what `read` found of it.
local function put(id, old, new, given)
  local kept, gone = {'place', cjson.encode(new)}, {}
  for name, value in pairs(given) do
    if value then
      kept[#kept + 1] = name
      kept[#kept + 1] = value
    else
      gone[#gone + 1] = name
    end
  end
  redis.call('HSET', row_key(id), unpack(kept))
  if old and #gone > 0 then
    redis.call('HDEL', row_key(id), unpack(gone))
  end
  list(id, old, new)
  hold(id, old, new)
  if old then
    add(old, -1)
  end
  add(new, 1)
  if new[OWNER] then
    know(new[OWNER], lane_of(new))
  end
end

local function delete(id, old)
  redis.call('DEL', row_key(id))
  list(id, old, nil)
  hold(id, old, nil)
  add(old, -1)
end
