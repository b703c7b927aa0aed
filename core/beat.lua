-- Says that a process is alive. KEYS: members. ARGV: process, Unix time in ms at which that ends, now, and the time before
-- which members are forgotten. Returns all that are alive.
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[4])
return redis.call('ZRANGE', KEYS[1], ARGV[3], '+inf', 'BYSCORE')
