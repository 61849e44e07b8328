-- ARGV[1]: the token. The lease stays, as an expired one, until it has no rows any more.

redis.call('ZADD', prefix .. 'leases', 'XX', 0, ARGV[1])
