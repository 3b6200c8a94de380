-- Extends a concurrency slot, unless it has expired.
-- KEYS: the sorted set of slots. ARGV: member, seconds until the slot expires.
redis.call('ZADD', KEYS[1], 'XX', tonumber(redis.call('TIME')[1]) + tonumber(ARGV[2]), ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]))
return 1
