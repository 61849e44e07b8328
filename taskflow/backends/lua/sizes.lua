-- ARGV: sorted sets. Returns how many members each has.

local sizes = {}
for i, name in ipairs(ARGV) do
  sizes[i] = redis.call('ZCARD', prefix .. name)
end
return sizes
