-- Forgets a room's backlog if it is empty. KEYS: epoch, backlog stream, behind. ARGV: epoch, room.
-- Returns 1 if it is forgotten, 0 if there is something in it, -1 if the account changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('XLEN', KEYS[2]) > 0 then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[2])
return 1
