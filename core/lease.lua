-- Takes or renews the leases of journals.
-- KEYS: per journal: lease, epoch, seq
-- ARGV: process, life in ms, per journal: epoch to renew or '' to take
-- Returns per journal: {epoch, newest id}, or {0, 0} if somebody else has it.
local result = {}
for n = 1, #ARGV - 2 do
  local lease, wanted = 3 * n - 2, ARGV[n + 2]
  local owner, epoch, newest = unpack(redis.call('MGET', KEYS[lease], KEYS[lease + 1], KEYS[lease + 2]))
  epoch = tonumber(epoch or '0')
  local is_free = not owner or owner == ARGV[1]
  if is_free and (wanted == '' or tonumber(wanted) == epoch) then
    if wanted == '' then epoch = redis.call('INCR', KEYS[lease + 1]) end
    redis.call('SET', KEYS[lease], ARGV[1], 'PX', ARGV[2])
    result[n] = {epoch, tonumber(newest or '0')}
  else
    result[n] = {0, 0}
  end
end
return result
