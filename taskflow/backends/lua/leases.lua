-- Leases, by the clock of the server.

local function microseconds_from_now(seconds)
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1e6 + time[2] + seconds * 1e6)
end

-- Calls `visit` with each lane, and its sorted set, of the owners that have no valid lease. Owners
-- without rows are forgotten.
local function each_ownerless(visit)
  local leases = prefix .. 'leases'
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', microseconds_from_now(0))) do
    local lanes, empty = prefix .. 'lanes:' .. owner, true
    for _, lane in ipairs(redis.call('SMEMBERS', lanes)) do
      if redis.call('EXISTS', open_key(owner, lane)) == 1 then
        empty = false
        visit(lane, open_key(owner, lane))
      else
        redis.call('SREM', lanes, lane)
      end
    end
    if empty then
      redis.call('ZREM', leases, owner)
    end
  end
end

-- The values of a JSON array as keys.
local function set_of(json)
  local set = {}
  for _, value in ipairs(cjson.decode(json)) do
    set[value] = true
  end
  return set
end
