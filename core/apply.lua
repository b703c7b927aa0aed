-- Stores a change of rooms and tubes that the inbox entry ARGV[2] asked for, once however often this is repeated.
-- KEYS: epoch, applied, rooms, tubes, moved, security, stream, seq, dead, attempts
-- ARGV: epoch, entry, then operations: 'set'|'del' rooms|tubes|moved field [value], 'log' record,
--       'barrier' record (appended to the shard's own inbox), or 'dead' record (the entry is set aside)
-- Returns 1, 0 if it was stored before, -1 if the shard changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[2]) then return 0 end
local hashes = {rooms = KEYS[3], tubes = KEYS[4], moved = KEYS[5]}
local i = 3
while i <= #ARGV do
  if ARGV[i] == 'set' then
    redis.call('HSET', hashes[ARGV[i + 1]], ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif ARGV[i] == 'del' then
    redis.call('HDEL', hashes[ARGV[i + 1]], ARGV[i + 2])
    i = i + 3
  elseif ARGV[i] == 'log' then
    redis.call('XADD', KEYS[6], 'MAXLEN', '~', 100000, '*', 'e', ARGV[i + 1])
    i = i + 2
  elseif ARGV[i] == 'dead' then
    redis.call('XADD', KEYS[9], '*', 'e', ARGV[i + 1])
    redis.call('HDEL', KEYS[10], ARGV[2])
    i = i + 2
  else
    redis.call('XADD', KEYS[7], redis.call('INCR', KEYS[8]) .. '-0', 'e', ARGV[i + 1])
    i = i + 2
  end
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
