-- Who has seen a story: one row per viewer, whatever the number of visits; the longest visit is kept. The pair is the
-- identity: an id of its own would be one more index on what is written most. The stories' own issue owns this table.

create table story_views (
    story_id              uuid        not null references stories (id) on delete cascade,
    viewer_id             uuid        not null,
    viewed_at             timestamptz not null default now(),
    view_duration_seconds real        check (view_duration_seconds >= 0),
    primary key (story_id, viewer_id)
) with (fillfactor = 90);
-- "Unseen first" asks which of these stories I have seen.
create index story_views_viewer on story_views (viewer_id, story_id);
