-- Store a new code, unless the same one is there already.
-- KEYS: the code, the codes of its subject.
-- ARGV: keyed hash, subject, by, now_ms, expires_ms, milliseconds to keep it. Returns 1, or 0 for a collision.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'subject', ARGV[2], 'by', ARGV[3], 'expires_ms', ARGV[5], 'claim', '')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 1
