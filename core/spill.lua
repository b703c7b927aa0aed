-- Moves entries of one room from the outbox to the room's own backlog, so that it holds up nobody else.
-- KEYS: epoch, outbox stream, backlog stream, behind, partly
-- ARGV: epoch, room, then per entry: id, record for this room alone, '' if other rooms wait for the entry, else '1' and
--       the number of its partly fields, those
-- Returns 1, or -1 if the account changed hands. Repeated, it changes nothing more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local i = 3
while i <= #ARGV do
  local id, record, last = ARGV[i] .. '-0', ARGV[i + 1], ARGV[i + 2] == '1'
  local field = ARGV[i] .. ' ' .. ARGV[2]
  local waits = #redis.call('XRANGE', KEYS[2], id, id, 'COUNT', 1) == 1 and redis.call('HEXISTS', KEYS[5], field) == 0
  if waits then redis.call('XADD', KEYS[3], id, 'e', record) end
  i = i + 3
  if last then
    if waits then redis.call('XDEL', KEYS[2], id) end
    for k = i + 1, i + tonumber(ARGV[i]) do redis.call('HDEL', KEYS[5], ARGV[k]) end
    i = i + 1 + tonumber(ARGV[i])
  elseif waits then
    redis.call('HSET', KEYS[5], field, '1')
  end
end
redis.call('HSET', KEYS[4], ARGV[2], '1')
return 1
