-- ARGV: seconds, and JSON array of [name, place]. Returns, of the same names, the places that others have
-- told: each after its name.

local declared, mine, others = prefix .. 'declared', {}, {}
local expires = microseconds_from_now(ARGV[1])

redis.call('ZREMRANGEBYSCORE', declared, '-inf', microseconds_from_now(0))
for _, pair in ipairs(cjson.decode(ARGV[2])) do
  mine[pair[1]] = pair[2]
  redis.call('ZADD', declared, expires, pair[1] .. '\0' .. pair[2])
end
for _, member in ipairs(redis.call('ZRANGE', declared, 0, -1)) do
  local name, place = member:match('^(.*)%z(.*)$')
  if mine[name] and mine[name] ~= place then
    others[#others + 1] = name
    others[#others + 1] = place
  end
end
return others
