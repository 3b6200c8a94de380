-- Tasks that run at a provider. `cost` is what was booked when it was submitted: it is given back when the task fails.

create table jobs (
    kind text not null,
    id text not null,
    upstream text not null,
    model text not null,
    project_id text,
    key_id text,
    key_name text not null,
    record_id text not null,
    cost bigint not null,
    state text not null,
    created_at bigint not null,
    primary key (kind, id)
);

create index jobs_by_state on jobs (state, created_at);
