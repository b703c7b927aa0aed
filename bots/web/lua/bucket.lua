-- A leaky bucket as one number: the time at which it will be empty. Returns the milliseconds to wait, 0: taken.
-- KEYS: bucket. ARGV: now_ms, milliseconds per unit, units that fit, units taken
local now, per, room, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local empty = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
local after = empty + cost * per
local wait = after - now - room * per
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil(after - now) + 1)
return 0
