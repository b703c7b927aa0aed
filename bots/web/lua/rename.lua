-- KEYS: room. ARGV: new name, the same as JSON, channel
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if redis.call('HGET', KEYS[1], 'name') == ARGV[1] then return 'same' end
redis.call('HSET', KEYS[1], 'name', ARGV[1])
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('PUBLISH', ARGV[3], '{"t":"room","seq":' .. seq .. ',"name":' .. ARGV[2] .. '}')
return 'put'
