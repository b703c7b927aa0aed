-- Take back codes that nobody has claimed.
-- KEYS: the codes of the subject, then each code. ARGV: now_ms. Returns how many were still good.
local revoked = 0
for i = 2, #KEYS do
  local code = redis.call('HMGET', KEYS[i], 'expires_ms', 'claim')
  if code[2] == '' then
    redis.call('DEL', KEYS[i])
    if tonumber(ARGV[1]) < tonumber(code[1]) then
      revoked = revoked + 1
    end
  end
end
return revoked
