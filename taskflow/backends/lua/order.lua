-- Places in a listing: of ids by `created`, and among equals by their bytes.

-- Lua's own `<` goes by the locale of the server; Redis goes by bytes.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- How many ids of a sorted set stand at a place or above it, without a look at each.
local function at_or_above(key, created, id)
  local low = redis.call('ZCOUNT', key, '(' .. created, '+inf')
  local high = redis.call('ZCOUNT', key, created, '+inf')
  while low < high do
    local middle = math.floor((low + high) / 2)
    if precedes(redis.call('ZREVRANGE', key, middle, middle)[1], id) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end
