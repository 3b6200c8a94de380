-- Times are microseconds since 1970 (UTC); money is nano-dollars. Only types that SQLite and PostgreSQL share.

create table projects (
    id text primary key,
    name text not null unique,
    budget bigint,
    spent bigint not null default 0,
    created_at bigint not null,
    changed_at bigint not null
);

create table keys (
    id text primary key,
    project_id text not null references projects (id),
    name text not null,
    hash text not null unique,
    tail text not null,
    models text,
    networks text,
    budget bigint,
    spent bigint not null default 0,
    requests_per_minute bigint,
    tokens_per_minute bigint,
    concurrency bigint,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    changed_at bigint not null
);

create unique index keys_in_use_by_name on keys (name) where revoked_at is null;
create index keys_by_change on keys (changed_at);
create index projects_by_change on projects (changed_at);

create table usage_records (
    id text primary key,
    at bigint not null,
    key_id text,
    key_name text not null,
    project_id text,
    model text not null,
    upstream text not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    cache_write_tokens bigint not null,
    completion_tokens bigint not null,
    reasoning_tokens bigint not null,
    estimated bigint not null,
    cost bigint not null,
    price text not null,
    first_token_us bigint,
    total_us bigint not null,
    outcome text not null
);

create index usage_records_by_time on usage_records (at);
