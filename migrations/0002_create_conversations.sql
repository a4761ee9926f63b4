-- Conversations. A message sent changes rev, seq, last_message_*, changed_xid and updated_at: none of them is indexed
-- and the pages keep room, so that every such update stays HOT (with an index on a last-changed column the time per
-- message rose by 75 %). `rev` is the revision of the last change of anything in the conversation, `own_rev` that of its
-- own fields (name, description, key epoch).
-- `created_by` has no foreign key. It would look up and lock the creator's row for each birth, and at the statement's
-- end, when the flush holds the rows of the users whose profiles it changes: two flushes, each with a profile of the
-- other's creator, waited for each other in a circle until PostgreSQL broke one of them off.

create table conversations (
    id              uuid primary key,
    type            text        not null check (type in ('direct', 'group')),
    name            text,
    description     text,
    privacy_mode    text        not null default 'standard' check (privacy_mode in ('standard', 'strict_e2e')),
    key_epoch       bigint      not null default 0,
    member_count    integer     not null default 0,
    last_message_id uuid,
    last_message_at timestamptz,
    seq             bigint      not null default 0,
    rev             bigint      not null default 0,
    own_rev         bigint      not null default 1,
    changed_xid     xid8        not null default pg_current_xact_id(),
    direct_low      uuid,
    direct_high     uuid,
    created_by      uuid        not null,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    check ((type = 'direct') = (direct_low is not null and direct_high is not null)),
    check (direct_low < direct_high)
) with (fillfactor = 70);

-- A 1:1 conversation is unique per pair and mode; nobody can have two by opening it twice at once.
create unique index conversations_direct on conversations (direct_low, direct_high, privacy_mode) where type = 'direct';
