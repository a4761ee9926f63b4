-- Messages. `seq` counts a conversation's messages, `rev` is the revision of a message's last change and `created_rev`
-- that of its first: who joined later must not see an old message because somebody edited it, and a repeated send gets
-- the answer of the first one.
-- A standard message has `body`, a strict one `content_encrypted` and `content_nonce`; a deleted one has neither.
-- `client_id` is the idempotency key of its author. No foreign keys: see 0003.

create table messages (
    conversation_id    uuid        not null,
    seq                bigint      not null,
    rev                bigint      not null,
    created_rev        bigint      not null,
    id                 uuid        not null,
    sender_id          uuid        not null,
    client_id          uuid        not null,
    changed_xid        xid8        not null default pg_current_xact_id(),
    created_at         timestamptz not null,
    edited_at          timestamptz,
    deleted_at         timestamptz,
    deleted_by         uuid,
    reply_to           uuid,
    key_epoch          bigint,
    reaction_count     integer     not null default 0,
    encryption_version smallint    not null default 0,
    sender_key_id      text,
    body               text,
    content_encrypted  bytea,
    content_nonce      bytea,
    mentions           uuid[],
    primary key (conversation_id, seq),
    constraint messages_id unique (id),
    constraint messages_client_id unique (conversation_id, sender_id, client_id)
);

-- "What did I miss" is one range of it.
create index messages_rev on messages (conversation_id, rev);
