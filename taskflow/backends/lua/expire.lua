-- ARGV: a token, and how many beats it must have had. Returns 1, or 0 if it has had another number.

local beats = beats_of(ARGV[1])
if beats == 0 or beats ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', prefix .. 'leases', 0, ARGV[1])
return 1
