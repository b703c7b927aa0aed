-- One change of one message: numbered, kept, published; all or nothing.
-- KEYS: room, messages, born, changed, guests, index
-- ARGV: id, record expected ('' for none), new record, now_ms, life_ms (0: as it is), messages kept, bytes kept,
--       channel, the room in the index
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone', ''} end
local old = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if old == ARGV[3] then return {'same', old} end
if old ~= ARGV[2] then return {'stale', old} end

local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
local born = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not born then
  born = seq
  redis.call('ZADD', KEYS[3], seq, ARGV[1])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[4], seq, ARGV[1])

local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[3] - #old)
local count = redis.call('ZCARD', KEYS[3])
while count > 1 and (count > tonumber(ARGV[6]) or bytes > tonumber(ARGV[7])) do
  local popped = redis.call('ZPOPMIN', KEYS[3])
  local oldest = popped[1]
  redis.call('HSET', KEYS[1], 'trimmed', popped[2])
  bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -redis.call('HSTRLEN', KEYS[2], oldest))
  redis.call('HDEL', KEYS[2], oldest)
  redis.call('ZREM', KEYS[4], oldest)
  count = count - 1
end

local life = tonumber(ARGV[5])
if life > 0 then
  redis.call('ZADD', KEYS[6], tonumber(ARGV[4]) + life, ARGV[9])
else
  life = redis.call('PTTL', KEYS[1])
end
if life > 0 then
  for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], life) end
end

redis.call('PUBLISH', ARGV[8], '{"t":"message","seq":' .. seq .. ',"n":' .. born .. ',"m":' .. ARGV[3] .. '}')
return {'put', ''}
