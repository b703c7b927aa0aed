-- Takes or renews the lease of a journal.
-- KEYS: lease, epoch, seq
-- ARGV: process, life in ms, epoch to renew or '' to take
-- Returns {epoch, newest id}, or {0, 0} if somebody else has it.
local owner = redis.call('GET', KEYS[1])
local epoch = tonumber(redis.call('GET', KEYS[2]) or '0')
if ARGV[3] == '' then
  if owner and owner ~= ARGV[1] then return {0, 0} end
  epoch = redis.call('INCR', KEYS[2])
elseif tonumber(ARGV[3]) ~= epoch or (owner and owner ~= ARGV[1]) then
  return {0, 0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {epoch, tonumber(redis.call('GET', KEYS[3]) or '0')}
