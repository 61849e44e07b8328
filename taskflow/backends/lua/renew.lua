-- ARGV: the token and its seconds. Returns 1, or 0 if the lease has expired.

local until_now = redis.call('ZSCORE', prefix .. 'leases', ARGV[1])
if not until_now or tonumber(until_now) <= tonumber(microseconds_from_now(0)) then
  return 0
end
redis.call('ZADD', prefix .. 'leases', microseconds_from_now(ARGV[2]), ARGV[1])
return 1
