-- Moves entries of one room from the outbox to the room's own backlog, so that it holds up nobody else.
-- KEYS: epoch, outbox stream, backlog stream, behind, partly
-- ARGV: epoch, room, then per entry: id, record for this room alone, '1' if no other room waits for the entry else ''
-- Returns 1, or -1 if the account changed hands.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
for i = 3, #ARGV, 3 do
  redis.call('XADD', KEYS[3], ARGV[i] .. '-0', 'e', ARGV[i + 1])
  local field = ARGV[i] .. ' ' .. ARGV[2]
  if ARGV[i + 2] == '1' then
    redis.call('XDEL', KEYS[2], ARGV[i] .. '-0')
    redis.call('HDEL', KEYS[5], field)
  else
    redis.call('HSET', KEYS[5], field, '1')
  end
end
redis.call('HSET', KEYS[4], ARGV[2], '1')
return 1
