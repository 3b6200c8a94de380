-- What one machine may use of a budget for what the store has not booked yet.
-- KEYS: the purse; the set of purses in which the machine has something.
-- ARGV: machine, budget, booked, time of that, used, wished for beside it, spare, seconds after which a silent machine is lost, what has to
-- be there: of less, nothing is leased.
-- Returns what the machine may use, 1 when that is less than it wished for, and what it might use at most.
local machine, as_of = ARGV[1], tonumber(ARGV[4])
local wish, spare, lost, least = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local now = tonumber(redis.call('TIME')[1])

-- Numbers here are floats, exact up to 2^53; nano-dollars go to 2^63. An amount is {dollars, nano-dollars from 0 to below one dollar}.
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
-- As one float, no more than is exact.
local function small(a)
  if a[1] < 0 then return 0 end
  return math.min(a[1], 9000000) * DOLLAR + a[2]
end

local budget, booked, used = amount(ARGV[2]), amount(ARGV[3]), amount(ARGV[5])
local others = {0, 0}
local fields = redis.call('HGETALL', KEYS[1])
for place = 1, #fields, 2 do
  local field, first, second = fields[place], string.match(fields[place + 1], '^(-?%d+) (%d+)$')
  if field == 'booked' then
    -- Whoever asked the store last knows.
    if tonumber(second) > as_of then
      booked, as_of = amount(first), tonumber(second)
    end
  elseif field ~= machine then
    if tonumber(second) < now - lost then
      redis.call('HDEL', KEYS[1], field)
    else
      others = plus(others, amount(first))
    end
  end
end

local room = small(minus(minus(minus(budget, booked), others), used))
local more = math.min(wish, room)
local refused = room < least
if refused then
  more = 0
elseif wish > 0 then
  -- For some more like it.
  more = more + math.floor(math.min(spare, math.max(room - wish, 0) / 16) / wish) * wish
end
local most = plus(used, normal(0, more))
redis.call('HSET', KEYS[1], 'booked', text(booked) .. string.format(' %.0f', as_of))
if most[1] ~= 0 or most[2] ~= 0 then
  redis.call('HSET', KEYS[1], machine, text(most) .. string.format(' %.0f', now))
  redis.call('SADD', KEYS[2], KEYS[1])
  redis.call('EXPIRE', KEYS[2], 7 * 86400)
else
  redis.call('HDEL', KEYS[1], machine)
  redis.call('SREM', KEYS[2], KEYS[1])
end
redis.call('EXPIRE', KEYS[1], 7 * 86400)
return {text(most), more < wish and not refused and 1 or 0, text(plus(used, normal(0, room)))}
