-- What was done under an Idempotency-Key and what was answered, written in the transaction of the effect. `owner` is a
-- user, or one id that all registrations share; `fingerprint` is a keyed hash of what was asked, so that nobody who
-- reads this table can test what a message said or a password is. A key is free again after 24 hours; the row is then
-- written anew, or deleted by the retention task, which finds it by its age.

create table idempotency_keys (
    owner       uuid        not null,
    key         text        not null check (length(key) between 1 and 255),
    fingerprint text        not null,
    outcome     text        not null,
    created_at  timestamptz not null,
    primary key (owner, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);
