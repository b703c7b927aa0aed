-- What a reader has not seen: messages changed after `seq` and born after `joined`, with the room as it is now.
-- KEYS: room, messages, born, changed. ARGV: seq, joined
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local room = redis.call('HMGET', KEYS[1], 'seq', 'name')
local found = {room[1], room[2]}
local changed = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[1], '+inf', 'WITHSCORES')
for i = 1, #changed, 2 do
  local born = redis.call('ZSCORE', KEYS[3], changed[i])
  if born and tonumber(born) > tonumber(ARGV[2]) then
    found[#found + 1] = changed[i + 1]
    found[#found + 1] = born
    found[#found + 1] = redis.call('HGET', KEYS[2], changed[i])
  end
end
return found
