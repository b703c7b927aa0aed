-- Notes that entries up to ARGV[2] may be sent from now on. KEYS: epoch, under_way. ARGV: epoch, entry.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 1
