-- ARGV[1]: the token. It stays, as one that was released, until none of its rows is left.

if beats_of(ARGV[1]) > 0 then
  redis.call('ZADD', prefix .. 'leases', -1, ARGV[1])
end
