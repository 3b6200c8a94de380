-- People, and what the configuration file can say too.

create table users (
    id text primary key,
    name text not null unique,
    role text not null,
    created_at bigint not null,
    disabled_at bigint,
    changed_at bigint not null
);

alter table keys add column user_id text references users (id);
create index users_by_change on users (changed_at);

-- `value` is JSON, with the fields that the configuration file has.
create table settings (
    kind text not null,
    name text not null,
    value text not null,
    changed_at bigint not null,
    primary key (kind, name)
);

-- One row: the number of changes of `settings`.
create table settings_version (version bigint not null);
insert into settings_version (version) values (0);
