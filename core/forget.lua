-- Forgets events that waited for their room's history. KEYS: the room's stream, set of rooms. ARGV: room, ids ...
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
return 1
