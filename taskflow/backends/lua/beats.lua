-- Returns each owner, and the score of its lease.

return redis.call('ZRANGE', prefix .. 'leases', 0, -1, 'WITHSCORES')
