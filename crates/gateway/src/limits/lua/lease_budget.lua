-- Leases a part of a budget to one replica, for amounts that the store has not committed yet.
-- KEYS: the hash of the budget; the set of budgets in which the replica holds a lease.
-- ARGV: replica, limit, committed, time of committed, used, wanted in addition, spare, seconds after
-- which a silent replica counts as dead, minimum (nothing is leased when less is left).
-- Returns the amount that the replica may use, 1 if that is less than it wanted, and the most that
-- could have been granted.
-- Field `booked` of the hash has the committed amount and its time, each other field the lease of a
-- replica and the time of its last report.
local replica, as_of = ARGV[1], tonumber(ARGV[4])
local wanted, spare, ttl, minimum = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local now = tonumber(redis.call('TIME')[1])

-- Numbers in Lua are floats, exact up to 2^53; nano-dollars go to 2^63. An amount is {dollars,
-- nano-dollars from 0 to below one dollar}.
local DOLLAR = 1000000000
local function normal(high, low)
  local carry = math.floor(low / DOLLAR)
  return {high + carry, low - carry * DOLLAR}
end
local function amount(text)
  local sign, digits = string.match(text, '^(-?)(%d+)$')
  local high, low = tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9))
  if sign == '-' then high, low = -high, -low end
  return normal(high, low)
end
local function plus(a, b) return normal(a[1] + b[1], a[2] + b[2]) end
local function minus(a, b) return normal(a[1] - b[1], a[2] - b[2]) end
local function text(a)
  if a[1] >= 0 then
    if a[1] == 0 then return string.format('%.0f', a[2]) end
    return string.format('%.0f%09.0f', a[1], a[2])
  end
  local positive = normal(-a[1], -a[2])
  if positive[1] == 0 then return string.format('-%.0f', positive[2]) end
  return string.format('-%.0f%09.0f', positive[1], positive[2])
end
-- The amount as one float, bounded to what is exact.
local function to_float(a)
  if a[1] < 0 then return 0 end
  return math.min(a[1], 9000000) * DOLLAR + a[2]
end

local limit, committed, used = amount(ARGV[2]), amount(ARGV[3]), amount(ARGV[5])
local others = {0, 0}
local fields = redis.call('HGETALL', KEYS[1])
for index = 1, #fields, 2 do
  local field, value, time = fields[index], string.match(fields[index + 1], '^(-?%d+) (%d+)$')
  if field == 'booked' then
    -- The latest report of the store counts.
    if tonumber(time) > as_of then
      committed, as_of = amount(value), tonumber(time)
    end
  elseif field ~= replica then
    if tonumber(time) < now - ttl then
      redis.call('HDEL', KEYS[1], field)
    else
      others = plus(others, amount(value))
    end
  end
end

local room = to_float(minus(minus(minus(limit, committed), others), used))
local granted = math.min(wanted, room)
local refused = room < minimum
if refused then
  granted = 0
elseif wanted > 0 then
  -- Further requests of the same size.
  granted = granted + math.floor(math.min(spare, math.max(room - wanted, 0) / 16) / wanted) * wanted
end
local lease = plus(used, normal(0, granted))
redis.call('HSET', KEYS[1], 'booked', text(committed) .. string.format(' %.0f', as_of))
if lease[1] ~= 0 or lease[2] ~= 0 then
  redis.call('HSET', KEYS[1], replica, text(lease) .. string.format(' %.0f', now))
  redis.call('SADD', KEYS[2], KEYS[1])
  redis.call('EXPIRE', KEYS[2], 7 * 86400)
else
  redis.call('HDEL', KEYS[1], replica)
  redis.call('SREM', KEYS[2], KEYS[1])
end
redis.call('EXPIRE', KEYS[1], 7 * 86400)
return {text(lease), granted < wanted and not refused and 1 or 0, text(plus(used, normal(0, room)))}
