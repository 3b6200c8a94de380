-- Leases from a token bucket that refills in a minute and may go into debt.
-- KEYS: the bucket. ARGV: capacity, amount returned (below 0: a debt), amount wanted, spare amount.
-- Returns the amount granted, the milliseconds until something is available, and the level left.
local capacity, returned, wanted, spare = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local stored = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = capacity
if stored[1] then
  level = tonumber(stored[1]) + math.max(now - tonumber(stored[2]), 0) * capacity / 60
end
level = math.min(math.min(level, capacity) + returned, capacity)

local granted, wait = 0, 0
if wanted > 0 then
  if level >= 1 then
    granted = wanted + math.floor(math.max(math.min(spare, (level - wanted) / 8), 0))
    level = level - granted
  else
    wait = math.ceil((1 - level) * 60000 / capacity)
  end
end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
-- The bucket expires a minute after it would be full again.
redis.call('EXPIRE', KEYS[1], math.ceil((capacity - level) * 60 / capacity) + 60)
return {string.format('%.0f', granted), string.format('%.0f', wait), string.format('%.6f', level)}
