-- ARGV: states. Returns for each how many rows it has, how many of them have a duration, and the sum of
-- those in microseconds.

local counts = {}
for _, status in ipairs(ARGV) do
  for _, name in ipairs({':rows', ':timed', ':microseconds'}) do
    counts[#counts + 1] = tonumber(redis.call('HGET', prefix .. 'totals', status .. name) or 0)
  end
end
return counts
