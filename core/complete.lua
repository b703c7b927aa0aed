-- Ends posts: writes the id map, takes their entries out of the queue, notes rooms that have a shared entry already.
-- KEYS: epoch, stream, partly, attempts
-- ARGV: epoch, number of entries, entry ids, number of partly fields to set, fields, number to delete, fields,
--       then per hash of the id map: key, life in s, number of fields and values, those
-- Returns the number of entries taken out, or -1 if the account changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local i = 2
local function take()
  local n = tonumber(ARGV[i])
  local from = i + 1
  i = i + 1 + n
  return n, from, from + n - 1
end
local done = 0
local n, from, to = take()
if n > 0 then done = redis.call('XDEL', KEYS[2], unpack(ARGV, from, to)) end
n, from, to = take()
for k = from, to do redis.call('HSET', KEYS[3], ARGV[k], '1') end
n, from, to = take()
if n > 0 then
  redis.call('HDEL', KEYS[3], unpack(ARGV, from, to))
  redis.call('HDEL', KEYS[4], unpack(ARGV, from, to))
end
while i <= #ARGV do
  local key, life = ARGV[i], ARGV[i + 1]
  i = i + 2
  n, from, to = take()
  redis.call('HSET', key, unpack(ARGV, from, to))
  redis.call('EXPIRE', key, life)
end
return done
