-- Who follows whom, and whom one does not want to hear. The graph's own issue owns both tables; until then `kith seed`
-- is the only writer.
-- One row per ordered pair. Who unfollows leaves the row with `ended_at`, so that a phone that was away learns of it;
-- who comes back has it set to null again. `rev` is the follower's, as `changed_xid` says when: see 0001.
-- users.follower_count and following_count are the sums of the rows that have not ended, kept by the one who writes them.

create table follows (
    id           uuid primary key,
    follower_id  uuid        not null,
    following_id uuid        not null,
    rev          bigint      not null default 0,
    changed_xid  xid8        not null default pg_current_xact_id(),
    created_at   timestamptz not null default now(),
    ended_at     timestamptz,
    constraint follows_pair unique (follower_id, following_id),
    check (follower_id <> following_id)
) with (fillfactor = 90);
-- Followers, newest first, and whom somebody follows, likewise.
create index follows_following on follows (following_id, created_at desc) where ended_at is null;
create index follows_follower on follows (follower_id, created_at desc) where ended_at is null;

create table mutes (
    id         uuid primary key,
    muter_id   uuid        not null,
    muted_id   uuid        not null,
    created_at timestamptz not null default now(),
    constraint mutes_pair unique (muter_id, muted_id),
    check (muter_id <> muted_id)
);
