-- Ends posts: writes the id map, takes their entries out of the queue, notes rooms that have a shared entry already,
-- puts what was given up on the dead-letter list. Repeated, it changes nothing more.
-- KEYS: epoch, stream, partly, attempts, dead, folds
-- ARGV: epoch, then counted lists: dead letters (entry id, partly field or '', record; three per letter), ids of entries
--       to take out, partly fields to set, partly fields to delete, attempts fields to delete, rooms whose messages that
--       were to be posted as one are done,
--       then per hash of the id map: key, life in s, number of fields and values, those
-- Returns 1, or -1 if the account changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local i = 2
local function take()
  local n = tonumber(ARGV[i])
  local from = i + 1
  i = i + 1 + n
  return from, from + n - 1
end
-- unpack() takes a few thousand values at most.
local function in_pieces(from, to, call)
  for k = from, to, 1000 do call(unpack(ARGV, k, math.min(k + 999, to))) end
end
local from, to = take()
for k = from, to, 3 do
  local waits = #redis.call('XRANGE', KEYS[2], ARGV[k], ARGV[k], 'COUNT', 1) == 1
  if waits and redis.call('HEXISTS', KEYS[3], ARGV[k + 1]) == 0 then redis.call('XADD', KEYS[5], '*', 'e', ARGV[k + 2]) end
end
from, to = take()
in_pieces(from, to, function(...) redis.call('XDEL', KEYS[2], ...) end)
from, to = take()
for k = from, to do redis.call('HSET', KEYS[3], ARGV[k], '1') end
from, to = take()
in_pieces(from, to, function(...) redis.call('HDEL', KEYS[3], ...) end)
from, to = take()
in_pieces(from, to, function(...) redis.call('HDEL', KEYS[4], ...) end)
from, to = take()
in_pieces(from, to, function(...) redis.call('HDEL', KEYS[6], ...) end)
while i <= #ARGV do
  local key, life = ARGV[i], ARGV[i + 1]
  i = i + 2
  from, to = take()
  in_pieces(from, to, function(...) redis.call('HSET', key, ...) end)
  redis.call('EXPIRE', key, life)
end
return 1
