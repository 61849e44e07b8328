-- Leases: a sorted set of owners. A lease scores its beats; one that was released -1; and 0 an owner without a
-- lease that has rows.

-- By the clock of the server.
local function microseconds_from_now(seconds)
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1e6 + time[2] + seconds * 1e6)
end

-- How many beats a lease has had; 0 if there is none.
local function beats_of(token)
  local score = redis.call('ZSCORE', prefix .. 'leases', token)
  return score and math.max(0, tonumber(score)) or 0
end

-- Calls `visit` with each lane, and its sorted set, of the owners that have no lease, or a released one.
-- Those that have no rows any more are forgotten.
local function each_ownerless(visit)
  local leases = prefix .. 'leases'
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', 0)) do
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
