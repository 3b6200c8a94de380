-- The id that the caller got, where it is not the record's own; and the refused requests beside this one that a record stands for.
alter table usage_records add column request_id text;
alter table usage_records add column further_requests bigint not null default 0;
create index usage_records_by_request on usage_records (request_id) where request_id is not null;

-- Sums of usage records by UTC hours and days, whose beginning `at` is. An absent key or project is ''. `ttft_N` and `total_N`
-- count the requests whose time to the first token, and whole time, is in bucket N (`time_buckets.rs`).
create table usage_hours (
    at bigint not null,
    key_id text not null,
    key_name text not null,
    project_id text not null,
    model text not null,
    upstream text not null,
    outcome_class text not null,
    requests bigint not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    completion_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost bigint not null,
    ttft_0 bigint not null, ttft_1 bigint not null, ttft_2 bigint not null, ttft_3 bigint not null, ttft_4 bigint not null, ttft_5 bigint not null,
    ttft_6 bigint not null, ttft_7 bigint not null, ttft_8 bigint not null, ttft_9 bigint not null, ttft_10 bigint not null, ttft_11 bigint not null,
    ttft_12 bigint not null, ttft_13 bigint not null, ttft_14 bigint not null, ttft_15 bigint not null, ttft_16 bigint not null, ttft_17 bigint not null,
    ttft_18 bigint not null, ttft_19 bigint not null, ttft_20 bigint not null, ttft_21 bigint not null, ttft_22 bigint not null, ttft_23 bigint not null,
    total_0 bigint not null, total_1 bigint not null, total_2 bigint not null, total_3 bigint not null, total_4 bigint not null, total_5 bigint not null,
    total_6 bigint not null, total_7 bigint not null, total_8 bigint not null, total_9 bigint not null, total_10 bigint not null, total_11 bigint not null,
    total_12 bigint not null, total_13 bigint not null, total_14 bigint not null, total_15 bigint not null, total_16 bigint not null, total_17 bigint not null,
    total_18 bigint not null, total_19 bigint not null, total_20 bigint not null, total_21 bigint not null, total_22 bigint not null, total_23 bigint not null,
    primary key (at, key_id, key_name, project_id, model, upstream, outcome_class)
);

create table usage_days (
    at bigint not null,
    key_id text not null,
    key_name text not null,
    project_id text not null,
    model text not null,
    upstream text not null,
    outcome_class text not null,
    requests bigint not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    completion_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost bigint not null,
    ttft_0 bigint not null, ttft_1 bigint not null, ttft_2 bigint not null, ttft_3 bigint not null, ttft_4 bigint not null, ttft_5 bigint not null,
    ttft_6 bigint not null, ttft_7 bigint not null, ttft_8 bigint not null, ttft_9 bigint not null, ttft_10 bigint not null, ttft_11 bigint not null,
    ttft_12 bigint not null, ttft_13 bigint not null, ttft_14 bigint not null, ttft_15 bigint not null, ttft_16 bigint not null, ttft_17 bigint not null,
    ttft_18 bigint not null, ttft_19 bigint not null, ttft_20 bigint not null, ttft_21 bigint not null, ttft_22 bigint not null, ttft_23 bigint not null,
    total_0 bigint not null, total_1 bigint not null, total_2 bigint not null, total_3 bigint not null, total_4 bigint not null, total_5 bigint not null,
    total_6 bigint not null, total_7 bigint not null, total_8 bigint not null, total_9 bigint not null, total_10 bigint not null, total_11 bigint not null,
    total_12 bigint not null, total_13 bigint not null, total_14 bigint not null, total_15 bigint not null, total_16 bigint not null, total_17 bigint not null,
    total_18 bigint not null, total_19 bigint not null, total_20 bigint not null, total_21 bigint not null, total_22 bigint not null, total_23 bigint not null,
    primary key (at, key_id, key_name, project_id, model, upstream, outcome_class)
);

-- One row: the sums of the days before `until` are not filled in yet.
create table usage_sums_pending (until bigint not null);
insert into usage_sums_pending (until) select coalesce((max(at) / 86400000000 + 1) * 86400000000, 0) from usage_records;

-- The requests to providers that were made for one request, where one of them failed.
create table usage_attempts (
    record_id text not null,
    number bigint not null,
    provider text not null,
    model text not null,
    started_at bigint not null,
    first_byte_at bigint,
    ended_at bigint,
    status bigint,
    fault text,
    primary key (record_id, number)
);

create index usage_attempts_by_time on usage_attempts (started_at);
