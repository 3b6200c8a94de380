-- The part of `cache_write_tokens` that the cache keeps for an hour, which has a price of its own.
alter table usage_records add column cache_write_1h_tokens bigint not null default 0;
