-- ARGV: the token, its seconds, and the token whose rows it takes, if any.

local token, seconds, previous = ARGV[1], ARGV[2], ARGV[3]

redis.call('ZADD', prefix .. 'leases', microseconds_from_now(seconds), token)
if previous and previous ~= token then
  for _, lane in ipairs(redis.call('SMEMBERS', prefix .. 'lanes:' .. previous)) do
    local from, to = open_key(previous, lane), open_key(token, lane)
    for _, id in ipairs(redis.call('ZRANGE', from, 0, -1)) do
      local place = read(id)
      if place then -- else the server has evicted it
        place[OWNER] = token
        redis.call('HSET', row_key(id), 'place', cjson.encode(place))
      end
    end
    redis.call('ZUNIONSTORE', to, 2, from, to, 'AGGREGATE', 'MAX')
    redis.call('DEL', from)
    know(token, lane)
  end
end
