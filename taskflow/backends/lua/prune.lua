-- ARGV: a moment, and how many rows to delete that ended before it. Returns how many it deleted.

local old = redis.call('ZRANGEBYSCORE', prefix .. 'ended', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(old) do
  local row = read(id)
  if row then
    delete(id, row)
  else -- the server has evicted it
    redis.call('ZREM', prefix .. 'ended', id)
  end
end
settle()
return #old
