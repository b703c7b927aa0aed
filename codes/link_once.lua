-- Let one claim have a one-time link.
-- KEYS: the link. ARGV: claim. Returns 'ok', 'used' or 'gone'.
local taken = redis.call('GET', KEYS[1])
if not taken then
  return 'gone'
end
if taken == '' then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return 'ok'
end
return taken == ARGV[1] and 'ok' or 'used'
