-- ARGV[1]: the token. It stays, as one that ran out, until none of its rows is left.

redis.call('ZADD', prefix .. 'leases', 'XX', 0, ARGV[1])
