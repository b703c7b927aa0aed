-- Takes messages in and appends what they become to the outboxes, in one step: a shard's owner calls it while its inbox
-- is empty. The numbers that the messages would have had in the inbox are used up.
-- KEYS: seq, moved, epoch, batch of the shard; then per outbox: stream, seq, sources, lease, epoch, under_way
-- ARGV: process, batch number, life of a dedup key in s, dedup key prefix, wake channel prefix, the shard's tag, its epoch,
--       id before, number of messages, per message: room, dedup key or '';
--       then per outbox: tag, epoch if this process owns it else '', number of records, per record: which message, record
-- Returns {id before, {per message: its id | 0 (seen before)}, {per outbox: {id before, per record: id | 0}}}, or -1, and
-- nothing is done, if the shard changed hands, somebody else appended to its inbox, or a room has moved.
-- The same batch number again returns what the first time did.
local before, newest, epoch = unpack(redis.call('MGET', KEYS[4], KEYS[1], KEYS[3]))
if before then
  local last = cmsgpack.unpack(before)
  if last[1] == ARGV[2] then return last[2] end
end
newest = tonumber(newest or '0')
if epoch ~= ARGV[7] or newest ~= tonumber(ARGV[8]) then return -1 end
local count = tonumber(ARGV[9])
local messages = 10
if redis.call('EXISTS', KEYS[2]) == 1 then
  for n = 0, count - 1 do
    if redis.call('HEXISTS', KEYS[2], ARGV[messages + 2 * n]) == 1 then return -1 end
  end
end
local ids = {}
for n = 1, count do
  local dedup = ARGV[messages + 2 * n - 1]
  if dedup ~= '' and not redis.call('SET', ARGV[4] .. dedup, '1', 'NX', 'EX', ARGV[3]) then
    ids[n] = 0
  else
    ids[n] = newest + n
  end
end
local last_ordinal = string.format('%.0f %s', (newest + count + 1) * 65536 - 1, epoch)
local outboxes = {}
local key, i = 5, messages + 2 * count
while i <= #ARGV do
  local first, owner, owners_epoch = unpack(redis.call('MGET', KEYS[key + 1], KEYS[key + 3], KEYS[key + 4]))
  first = tonumber(first or '0')
  local appended, id = {first}, first
  local from, to = i + 3, i + 2 + 2 * tonumber(ARGV[i + 2])
  for k = from, to, 2 do
    if ids[tonumber(ARGV[k])] == 0 then
      appended[#appended + 1] = 0
    else
      id = id + 1
      redis.call('XADD', KEYS[key], id .. '-0', 'e', ARGV[k + 1])
      appended[#appended + 1] = id
    end
  end
  redis.call('HSET', KEYS[key + 2], ARGV[6], last_ordinal)
  if id > first then
    -- As in append.lua: an owner that is handed the entries in memory has them marked as under way in the same step.
    if ARGV[i + 1] ~= '' and owners_epoch == ARGV[i + 1] then
      redis.call('MSET', KEYS[key + 1], id, KEYS[key + 5], id)
    else
      redis.call('SET', KEYS[key + 1], id)
    end
    if owner and owner ~= ARGV[1] then redis.call('PUBLISH', ARGV[5] .. owner, ARGV[i]) end
  end
  outboxes[#outboxes + 1] = appended
  i, key = to + 1, key + 6
end
local result = {newest, ids, outboxes}
redis.call('MSET', KEYS[1], newest + count, KEYS[4], cmsgpack.pack({ARGV[2], result}))
redis.call('EXPIRE', KEYS[4], 86400)
return result
