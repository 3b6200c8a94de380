-- A bucket that fills over a minute and may go into debt.
-- KEYS: the bucket. ARGV: its size, what is given back (below 0: a debt), what is wished for, spare.
-- Returns what is granted, the milliseconds until something can be, and what is left.
local most, back, wish, spare = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local known = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = most
if known[1] then
  level = tonumber(known[1]) + math.max(now - tonumber(known[2]), 0) * most / 60
end
level = math.min(math.min(level, most) + back, most)

local granted, wait = 0, 0
if wish > 0 then
  if level >= 1 then
    granted = wish + math.floor(math.max(math.min(spare, (level - wish) / 8), 0))
    level = level - granted
  else
    wait = math.ceil((1 - level) * 60000 / most)
  end
end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
-- It is forgotten when it would be full again.
redis.call('EXPIRE', KEYS[1], math.ceil((most - level) * 60 / most) + 60)
return {string.format('%.0f', granted), string.format('%.0f', wait), string.format('%.6f', level)}
