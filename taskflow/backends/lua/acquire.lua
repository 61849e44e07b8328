-- ARGV[1]: the token.

redis.call('ZADD', prefix .. 'leases', 1, ARGV[1])
