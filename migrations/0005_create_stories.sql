-- Stories, and whom an author chose for one. Their actors come with the stories' own issue, which owns these tables;
-- until then `kith seed` is the only writer.
-- `kind` is what is shown first: a text story may have media, too. `media_key` names an object of the store.
-- `audience` narrows followers to the rows of story_audience. A story is over when now >= expires_at, whether or not
-- anybody noted it: `expired_at` says that its actor (or the sweep) has done what is to do then, `deleted_at` that its
-- author or an admin took it away. The two counters are the sums of story_views and story_reactions, kept by the one
-- who writes those. `rev` counts every durable change of the story, as a conversation's does.
-- No foreign keys to users, here and below: see `created_by` in 0002.

create table stories (
    id             uuid primary key,
    author_id      uuid        not null,
    kind           text        not null check (kind in ('photo', 'video', 'text')),
    text           text,
    caption        text,
    media_key      text,
    visibility     text        not null default 'public'
                               check (visibility in ('public', 'followers', 'close_friends', 'private')),
    audience       boolean     not null default false check (not audience or visibility = 'followers'),
    view_count     bigint      not null default 0,
    reaction_count bigint      not null default 0,
    rev            bigint      not null default 1,
    changed_xid    xid8        not null default pg_current_xact_id(),
    created_at     timestamptz not null default now(),
    expires_at     timestamptz not null,
    expired_at     timestamptz,
    deleted_at     timestamptz,
    check (expires_at > created_at),
    check (kind <> 'text' or text is not null or deleted_at is not null),
    check (kind = 'text' or media_key is not null or deleted_at is not null)
) with (fillfactor = 70); -- room for HOT updates: a view touches nothing that is indexed

-- A profile's and an author's own list.
create index stories_author on stories (author_id, created_at desc);
-- The tray: who of those I follow has something to see.
create index stories_author_living on stories (author_id, expires_at) where expired_at is null and deleted_at is null;
-- The alarm: what ends within the horizon, or should have ended.
create index stories_ending on stories (expires_at) where expired_at is null and deleted_at is null;
-- What everybody may see, newest first.
create index stories_public on stories (created_at desc)
    where visibility = 'public' and expired_at is null and deleted_at is null;

create table story_audience (
    story_id uuid not null references stories (id) on delete cascade,
    user_id  uuid not null,
    primary key (story_id, user_id)
);
-- Stories that were shared with me by name.
create index story_audience_user on story_audience (user_id);
