-- Count one use of a revocable link, once for each claim.
-- KEYS: the generation, the uses. ARGV: generation of the link, its name, claim, most uses.
-- Returns 'ok', 'used' or 'revoked'.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'revoked'
end
local mine = ARGV[2] .. ':' .. ARGV[3]
if redis.call('HEXISTS', KEYS[2], mine) == 1 then
  return 'ok'
end
if tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0) >= tonumber(ARGV[4]) then
  return 'used'
end
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('HSET', KEYS[2], mine, 1)
return 'ok'
