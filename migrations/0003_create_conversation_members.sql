-- Memberships. Rows are never deleted: each is an interval [joined_rev, left_rev) of revisions its member may read, and
-- whoever comes back gets a new row.
-- No foreign keys here and on messages: each costs a look-up and a row lock per row on the way of every message
-- (5 to 10 us of 17). The compare-and-set of the conversation's head, in the same statement, proves that the parent is there.

create table conversation_members (
    conversation_id uuid        not null,
    user_id         uuid        not null,
    role            text        not null default 'member' check (role in ('owner', 'admin', 'member')),
    joined_rev      bigint      not null,
    left_rev        bigint,
    joined_at       timestamptz not null default now(),
    left_at         timestamptz,
    last_read_seq   bigint      not null default 0,
    delivered_seq   bigint      not null default 0,
    last_read_at    timestamptz,
    muted_until     timestamptz,
    archived_at     timestamptz,
    user_public_key bytea,
    rev             bigint      not null,
    changed_xid     xid8        not null default pg_current_xact_id(),
    primary key (conversation_id, user_id, joined_rev),
    check (left_rev > joined_rev)
) with (fillfactor = 70);

-- One present membership per user and conversation.
create unique index conversation_members_present on conversation_members (conversation_id, user_id) where left_rev is null;
create index conversation_members_user on conversation_members (user_id);
