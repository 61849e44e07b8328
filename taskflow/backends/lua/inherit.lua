-- ARGV: a token, the one whose rows it takes, and how many at most. Returns how many it has taken.

local token, previous, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])

local taken = 0
for _, lane in ipairs(redis.call('SMEMBERS', prefix .. 'lanes:' .. previous)) do
  local from, to = open_key(previous, lane), open_key(token, lane)
  local entries = redis.call('ZRANGE', from, 0, limit - taken - 1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    local id = entries[i]
    local place = read(id)
    if place then -- else the server has evicted it
      place[OWNER] = token
      redis.call('HSET', row_key(id), 'place', cjson.encode(place))
      redis.call('ZADD', to, entries[i + 1], id)
    end
    redis.call('ZREM', from, id)
    taken = taken + 1
  end
  if #entries > 0 then
    know(token, lane)
  end
  if taken >= limit then
    break
  end
end
return taken
