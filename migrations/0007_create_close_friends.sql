-- The list of a user's close friends, who see what nobody else does and are never told that they are on it. Rows go when
-- they are taken off. The graph's own issue owns this table; until then `kith seed` is the only writer.

create table close_friends (
    user_id         uuid        not null,
    close_friend_id uuid        not null,
    created_at      timestamptz not null default now(),
    primary key (user_id, close_friend_id),
    check (user_id <> close_friend_id)
);
-- Whose close friend am I: a tray asks that for all authors at once.
create index close_friends_friend on close_friends (close_friend_id, user_id);
