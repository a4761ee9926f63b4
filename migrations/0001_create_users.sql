-- Users, their logins and blocks. `email_key` and `username_key` are the case-folded forms that are unique.

create table users (
    id              uuid primary key,
    email           text        not null,
    email_key       text        not null constraint users_email_key unique,
    username        text        not null,
    username_key    text        not null constraint users_username_key unique,
    display_name    text,
    avatar_url      text,
    bio             text,
    interests       text[]      not null default '{}',
    password_hash   text        not null,
    limits          text        not null default 'normal' check (limits in ('normal', 'load')),
    status          text        not null default 'active' check (status in ('active', 'suspended', 'deleted')),
    follower_count  bigint      not null default 0,
    following_count bigint      not null default 0,
    rev             bigint      not null default 0,
    changed_xid     xid8        not null default pg_current_xact_id(),
    last_seen_at    timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
) with (fillfactor = 70); -- room for HOT updates: nothing that a profile change or last-seen touches is indexed, but the name

create table sessions (
    id           uuid primary key,
    user_id      uuid        not null references users (id),
    token_hash   bytea       not null constraint sessions_token_hash unique,
    user_agent   text,
    address      text,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    expires_at   timestamptz not null,
    revoked_at   timestamptz
) with (fillfactor = 70);
create index sessions_user on sessions (user_id);
-- Asked every few seconds by each node, for the logins that access tokens must not speak for any more.
create index sessions_revoked on sessions (revoked_at) where revoked_at is not null;

-- Refresh tokens that were rotated away, so that the reuse of one is seen for what it is.
create table spent_tokens (
    token_hash bytea primary key,
    session_id uuid        not null references sessions (id),
    spent_at   timestamptz not null default now()
);
create index spent_tokens_session on spent_tokens (session_id);

create table blocks (
    id         uuid primary key,
    blocker_id uuid        not null references users (id),
    blocked_id uuid        not null references users (id),
    created_at timestamptz not null default now(),
    constraint blocks_pair unique (blocker_id, blocked_id),
    check (blocker_id <> blocked_id)
);
create index blocks_blocked on blocks (blocked_id);
