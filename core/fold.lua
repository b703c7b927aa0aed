-- Notes which messages of a room are posted as one, or that none are. KEYS: epoch, folds.
-- ARGV: epoch, room, '<first entry> <last entry>' or ''. Returns 1, or -1 if the account changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[2], ARGV[2]) else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return 1
