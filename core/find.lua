-- Finds fields in hashes. KEYS: per question, the hashes to look into, in their order. ARGV: per question: field, number of
-- hashes. Returns per question the first value that is there, or nil.
local result, key = {}, 1
for i = 1, #ARGV, 2 do
  local behind = key + tonumber(ARGV[i + 1])
  local found = false
  while key < behind and not found do
    found = redis.call('HGET', KEYS[key], ARGV[i])
    key = key + 1
  end
  key = behind
  result[#result + 1] = found
end
return result
