-- Takes done entries out of a shard's inbox: all up to and with an id. KEYS: stream, epoch. ARGV: epoch, id after the last.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
