-- Budgets with a period, of a key, a project or a user. `scope` says whom one counts: all requests of the owner (`owner`), each
-- end user of a key alone (`each`), or the end user of a name (`one`). A null `amount` limits nothing; from `warn_at` on the log
-- warns. A removed budget stays as a row, so that running servers see that it is removed.
create table budgets (
    id text primary key,
    owner_kind text not null,
    owner_id text not null,
    scope text not null,
    end_user text not null,
    period text not null,
    time_zone text not null,
    amount bigint,
    warn_at bigint,
    changed_at bigint not null,
    removed_at bigint
);

create index budgets_by_owner on budgets (owner_id);
create index budgets_by_change on budgets (changed_at);

-- What was spent of a budget in a window, from `starts_at` until before `ends_at`. `end_user` is '' where a budget does not count
-- each end user alone.
create table budget_spend (
    budget_id text not null references budgets (id),
    end_user text not null,
    starts_at bigint not null,
    ends_at bigint not null,
    spent bigint not null,
    changed_at bigint not null,
    primary key (budget_id, end_user, starts_at)
);

create index budget_spend_by_change on budget_spend (changed_at);
create index budget_spend_by_end on budget_spend (ends_at);

-- The end user of a request, where the key has budgets of end users.
alter table usage_records add column end_user text;
create index usage_records_by_end_user on usage_records (key_id, at) where end_user is not null;
