-- ARGV[1]: the token. Returns 1, or 0 if there is no such lease.

if beats_of(ARGV[1]) == 0 then
  return 0
end
redis.call('ZINCRBY', prefix .. 'leases', 1, ARGV[1])
return 1
