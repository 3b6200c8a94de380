-- What one machine may use of a budget for what the store has not booked yet.
-- KEYS: the purse; the set of purses in which the machine has something.
-- ARGV: machine, budget, booked, time of that, used, wished for beside it, spare, seconds after which a silent machine is lost.
-- Returns what the machine may use, and 1 when that is less than it wished for.
local machine, budget, booked, as_of = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local used, wish, spare, lost = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = tonumber(redis.call('TIME')[1])

local others = 0
local fields = redis.call('HGETALL', KEYS[1])
for place = 1, #fields, 2 do
  local field, first, second = fields[place], string.match(fields[place + 1], '^(-?%d+) (%d+)$')
  if field == 'booked' then
    -- Whoever asked the store last knows.
    if tonumber(second) > as_of then
      booked, as_of = tonumber(first), tonumber(second)
    end
  elseif field ~= machine then
    if tonumber(second) < now - lost then
      redis.call('HDEL', KEYS[1], field)
    else
      others = others + tonumber(first)
    end
  end
end

local room = math.max(budget - booked - others - used, 0)
local more = math.min(wish, room)
if wish > 0 then
  -- For some more like it.
  more = more + math.floor(math.min(spare, math.max(room - wish, 0) / 16) / wish) * wish
end
redis.call('HSET', KEYS[1], 'booked', string.format('%.0f %.0f', booked, as_of))
if used + more ~= 0 then
  redis.call('HSET', KEYS[1], machine, string.format('%.0f %.0f', used + more, now))
  redis.call('SADD', KEYS[2], KEYS[1])
  redis.call('EXPIRE', KEYS[2], 7 * 86400)
else
  redis.call('HDEL', KEYS[1], machine)
  redis.call('SREM', KEYS[2], KEYS[1])
end
redis.call('EXPIRE', KEYS[1], 7 * 86400)
return {string.format('%.0f', used + more), more < wish and 1 or 0}
