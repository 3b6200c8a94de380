-- One row: which database this is, and the number of changes of keys and users. A copy of both is kept outside (`store-id`), so
-- that a database that was lost or restored is noticed.

create table store_identity (
    one bigint primary key,
    id text not null,
    changes bigint not null
);
