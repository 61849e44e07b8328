-- ARGV: the number of the layout, and what to take if the store has no incarnation: it is new, or was emptied.
-- Returns the incarnation.

redis.call('SET', prefix .. 'version', ARGV[1], 'NX')
redis.call('SET', prefix .. 'incarnation', ARGV[2], 'NX')
return redis.call('GET', prefix .. 'incarnation')
