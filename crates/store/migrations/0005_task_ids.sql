-- `id` is what callers call a task, `provider_id` what its provider calls it. Of a task that an earlier version has kept both are the same.
alter table jobs add column provider_id text;
create index jobs_by_provider_id on jobs (kind, provider_id);
