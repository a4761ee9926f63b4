-- One reaction per user and story; another emoji takes its place. The stories' own issue owns this table.

create table story_reactions (
    story_id   uuid        not null references stories (id) on delete cascade,
    user_id    uuid        not null,
    emoji      text        not null check (octet_length(emoji) between 1 and 32),
    created_at timestamptz not null default now(),
    primary key (story_id, user_id)
) with (fillfactor = 90);
create index story_reactions_user on story_reactions (user_id, created_at desc);
