-- Appends records of one journal to another, each once however often this is repeated.
-- KEYS: stream, seq, sources, lease, epoch, under_way
-- ARGV: process, source, source's epoch, epoch of the destination if this process owns it else '', wake channel prefix, tag,
--       then per record: ordinal in the source, record
-- Returns {id before the first append, per record: its id | 0 (appended before)}, or -1 if the source changed hands.
-- An owner that hands over in memory marks the entries as under way in the same step.
local newest, owner, epoch = unpack(redis.call('MGET', KEYS[2], KEYS[4], KEYS[5]))
local mark = redis.call('HGET', KEYS[3], ARGV[2])
local last, source_epoch = 0, 0
if mark then
  local cut = string.find(mark, ' ', 1, true)
  last, source_epoch = tonumber(string.sub(mark, 1, cut - 1)), tonumber(string.sub(mark, cut + 1))
end
if tonumber(ARGV[3]) < source_epoch then return -1 end
newest = tonumber(newest or '0')
local result = {newest}
local id = newest
for i = 7, #ARGV, 2 do
  local ordinal = tonumber(ARGV[i])
  if ordinal <= last then
    result[#result + 1] = 0
  else
    id = id + 1
    last = ordinal
    redis.call('XADD', KEYS[1], id .. '-0', 'e', ARGV[i + 1])
    result[#result + 1] = id
  end
end
redis.call('HSET', KEYS[3], ARGV[2], string.format('%.0f %s', last, ARGV[3]))
if id > newest then
  -- The epoch alone counts here: the owner may renew a lease that has run out and go on with what it was handed.
  if ARGV[4] ~= '' and epoch == ARGV[4] then
    redis.call('MSET', KEYS[2], id, KEYS[6], id)
  else
    redis.call('SET', KEYS[2], id)
  end
  if owner and owner ~= ARGV[1] then redis.call('PUBLISH', ARGV[5] .. owner, ARGV[6]) end
end
return result
