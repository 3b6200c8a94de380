-- Files that callers keep at a provider: what they uploaded, and what their batches wrote. `id` is what callers call a file,
-- `provider_id` what its provider calls it. `batch_input` is JSON: what a file for batches asks for.
create table files (
    id text primary key,
    provider_id text not null,
    upstream text not null,
    owner text not null,
    purpose text not null,
    filename text not null,
    bytes bigint not null,
    batch_input text,
    created_at bigint not null
);

create unique index files_by_provider_id on files (upstream, provider_id, owner);
create index files_by_owner on files (owner, created_at);

-- The end user whom the submission of a task was for, if the key has budgets of end users.
alter table jobs add column end_user text;
