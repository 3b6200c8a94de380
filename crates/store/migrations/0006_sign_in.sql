-- Sign-in of people. Of passwords, tokens of sessions and tokens of links only hashes are kept.

create table passwords (
    user_id text primary key references users (id),
    hash text not null,
    changed_at bigint not null
);

-- A session belongs to a user, or to the admin token whose digest it has. `key_id` is the key that it was begun with.
create table sessions (
    id text primary key,
    token_hash text not null unique,
    user_id text references users (id),
    key_id text references keys (id),
    admin_token text,
    address text not null,
    user_agent text not null,
    created_at bigint not null,
    used_at bigint not null
);

create index sessions_by_user on sessions (user_id);

-- Links that work once. `user_id` is whose password a link sets; `name` to `budget` are what an invitation gives.
create table one_time_links (
    token_hash text primary key,
    kind text not null,
    user_id text references users (id),
    name text,
    role text,
    project_id text references projects (id),
    budget bigint,
    created_at bigint not null,
    expires_at bigint not null
);

-- The projects in which a user may make keys.
create table project_members (
    project_id text not null references projects (id),
    user_id text not null references users (id),
    primary key (project_id, user_id)
);

-- What the keys that a user makes may spend together, in nano-dollars. Null: `[console] member_budget`.
alter table users add column budget bigint;
create index keys_by_user on keys (user_id);
