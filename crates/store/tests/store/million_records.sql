-- A million records of 30 days from ?1 (microseconds since 1970): 40 keys, 6 models. For SQLite.
with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n < 999999)
insert into usage_records (id, at, key_id, key_name, project_id, model, upstream, prompt_tokens, cached_tokens,
    cache_write_tokens, completion_tokens, reasoning_tokens, estimated, cost, price, first_token_us, total_us, outcome)
select
    printf('01a222e8-ce7f-7%03x-8%03x-%012x', n % 4096, n % 4095, n), ?1 + n * 2592000,
    printf('01a222e8-0000-7000-8000-%012x', n * 7 % 40), 'key-' || (n * 7 % 40), 'project-' || (n * 7 % 4), 'model-' || (n * 11 % 6),
    'provider-' || (n * 11 % 3), n * 13 % 9000, n % 1000, 0, n * 17 % 2000, 0, 0, n * 31 % 20000000, 'p', 100000 + n * 37 % 3000000,
    1000000 + n * 41 % 60000000, case when n % 97 = 0 then 'timeout' when n % 50000 = 1 then 'forbidden' else 'stop' end
from numbers
