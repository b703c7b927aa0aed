-- Let one claim have a code, or count a wrong guess. A wrong, an expired and a used code do the same work.
-- KEYS: the code, then the guesses of the person, of the room, of everybody.
-- ARGV: now_ms, claim, room, window_ms, the limits of person, room, everybody, milliseconds to keep the claim.
-- Returns {'ok', subject, by}, {'wrong'} or {'locked', until_ms}.
local now, claim, room = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local code = redis.call('HMGET', KEYS[1], 'subject', 'by', 'expires_ms', 'claim')
local subject, by, expires, taken = code[1], code[2], tonumber(code[3] or 0), code[4]

local counts, ends, locked_until = {}, {}, 0
for i = 2, 4 do
  local guesses = redis.call('HMGET', KEYS[i], 'n', 'until_ms')
  counts[i], ends[i] = tonumber(guesses[1] or 0), tonumber(guesses[2] or 0)
  if now >= ends[i] then
    counts[i], ends[i] = 0, now + tonumber(ARGV[4])
  end
  if counts[i] >= tonumber(ARGV[3 + i]) and ends[i] > locked_until then
    locked_until = ends[i]
  end
end

-- The claim that won asks again after a crash: the answer it may not have heard.
if subject and taken == claim then
  return {'ok', subject, by}
end
if locked_until > 0 then
  return {'locked', locked_until}
end
if subject and taken == '' and now < expires then
  -- Typed in the room it came from, a code is not used up.
  if subject ~= room then
    redis.call('HSET', KEYS[1], 'claim', claim)
    redis.call('PEXPIRE', KEYS[1], ARGV[8])
  end
  return {'ok', subject, by}
end
for i = 2, 4 do
  redis.call('HSET', KEYS[i], 'n', counts[i] + 1, 'until_ms', ends[i])
  redis.call('PEXPIRE', KEYS[i], ends[i] - now)
end
return {'wrong'}
