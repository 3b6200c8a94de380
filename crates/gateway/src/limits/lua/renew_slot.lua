-- Keeps a place for longer, unless it is lost already.
-- KEYS: the places. ARGV: who has one, seconds.
redis.call('ZADD', KEYS[1], 'XX', tonumber(redis.call('TIME')[1]) + tonumber(ARGV[2]), ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]))
return 1
