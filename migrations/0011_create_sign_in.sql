-- One-time codes, their recovery codes, identities at a provider, and the sign-ins with one that are over.

create table totp (
    user_id      uuid primary key references users (id),
    secret       bytea       not null, -- sealed under a key that follows from JWT_SECRET
    confirmed_at timestamptz,          -- null: begun, and nobody is asked for a code yet
    last_step    bigint      not null default 0,
    failures     integer     not null default 0,
    paused_until timestamptz,
    created_at   timestamptz not null default now()
);

-- A used one stays until all are made anew, or codes are turned off: so that what was used is not taken for unknown.
create table recovery_codes (
    user_id   uuid        not null references totp (user_id) on delete cascade,
    code_hash bytea       not null,
    used_at   timestamptz,
    primary key (user_id, code_hash)
);

create table identities (
    id         uuid primary key,
    user_id    uuid        not null references users (id),
    issuer     text        not null,
    subject    text        not null,
    email      text, -- as the provider said when it was linked: to show, never to find anybody by
    created_at timestamptz not null default now(),
    constraint identities_subject unique (issuer, subject)
);
create index identities_user on identities (user_id);

-- A flow lives for minutes and is good once; whoever spends one cleans up behind himself.
create table spent_flows (
    id         uuid primary key,
    expires_at timestamptz not null
);
create index spent_flows_expires on spent_flows (expires_at);
