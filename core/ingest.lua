-- Takes a batch of events into a shard's inbox: dedup, move check and append in one step.
-- KEYS: stream, seq, moved, lease, batch
-- ARGV: process, batch number, life of a dedup key in s, dedup key prefix, wake channel prefix, tag, then per event: room, dedup key or '', record
-- Returns {id before the first append, per event: its id | 0 (seen before) | '<shard>' or '*' (moved)}.
-- The same batch number again returns what the first time did.
local before, newest, owner = unpack(redis.call('MGET', KEYS[5], KEYS[2], KEYS[4]))
if before then
  local last = cmsgpack.unpack(before)
  if last[1] == ARGV[2] then return last[2] end
end
newest = tonumber(newest or '0')
local result = {newest}
local any_moved = redis.call('EXISTS', KEYS[3]) == 1
local id = newest
for i = 7, #ARGV, 3 do
  local to = any_moved and redis.call('HGET', KEYS[3], ARGV[i])
  if to then
    -- What was taken in here before the room moved is not to be taken in again where it is now.
    local seen = ARGV[i + 1] ~= '' and redis.call('EXISTS', ARGV[4] .. ARGV[i + 1]) == 1
    result[#result + 1] = seen and 0 or to
  elseif ARGV[i + 1] ~= '' and not redis.call('SET', ARGV[4] .. ARGV[i + 1], '1', 'NX', 'EX', ARGV[3]) then
    result[#result + 1] = 0
  else
    id = id + 1
    redis.call('XADD', KEYS[1], id .. '-0', 'e', ARGV[i + 2])
    result[#result + 1] = id
  end
end
redis.call('SET', KEYS[5], cmsgpack.pack({ARGV[2], result}), 'EX', 86400)
if id > newest then
  redis.call('SET', KEYS[2], id)
  if owner and owner ~= ARGV[1] then redis.call('PUBLISH', ARGV[5] .. owner, ARGV[6]) end
end
return result
