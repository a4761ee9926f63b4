-- Platform admins, suspensions, reports, appeals, and the audit table of everything that admins do.

-- A suspension is three columns of the user's row, written together with his revoked logins. `suspension_id` is the
-- row of admin_actions by which he is suspended, which an appeal names; `suspended_until` null: until somebody restores
-- him. A suspension whose time is over ends with the next login.
alter table users
    add column is_admin         boolean not null default false,
    add column suspension_id    uuid,
    add column suspended_until  timestamptz,
    add column suspended_reason text,
    add check (status = 'suspended' or (suspension_id is null and suspended_until is null));

-- What `GET /admin/users` looks through. Prefixes are ranges of the C collation: no wildcard has a meaning there, and a
-- generic plan uses them, which it cannot with LIKE and a parameter. Of these only the display name changes, rarely;
-- all other updates of a user stay HOT.
create index users_newest on users (created_at desc, id desc);
create index users_not_active on users (created_at desc, id desc) where status <> 'active';
create index users_admins on users (created_at desc, id desc) where is_admin;
create index users_username_prefix on users (username_key collate "C");
create index users_email_prefix on users (email_key collate "C");
create index users_display_name_prefix on users (lower(display_name) collate "C") where display_name is not null;

-- Who did what to whom. `actor`: an admin, the operator at the command line, or time (a suspension that was over).
-- `user_id` is the person it is about: of a message its sender. Some actions are measures against him, and those he may
-- appeal against: suspend_user, warn_user, delete_message.
-- No foreign keys: the log outlives what it names.
create table admin_actions (
    id          uuid primary key,
    at          timestamptz not null,
    actor       text        not null check (actor in ('admin', 'operator', 'time')),
    admin_id    uuid,
    action      text        not null,
    target_kind text        not null,
    target_id   uuid        not null,
    user_id     uuid,
    report_id   uuid,
    reason      text,
    details     jsonb       not null default '{}',
    request_id  text,
    address     text,
    check ((actor = 'admin') = (admin_id is not null))
);
create index admin_actions_at on admin_actions (at desc, id desc);
create index admin_actions_admin on admin_actions (admin_id, at desc, id desc);
create index admin_actions_action on admin_actions (action, at desc, id desc);
create index admin_actions_target on admin_actions (target_id, at desc, id desc);
create index admin_actions_user on admin_actions (user_id, at desc, id desc);
create index admin_actions_report on admin_actions (report_id) where report_id is not null;

-- A log that its subjects could tidy up is none: not even the owner of the table changes it by mistake.
create function admin_actions_are_final() returns trigger
language plpgsql as $$
begin
    raise exception 'admin_actions takes new rows only' using errcode = 'KJ002';
end
$$;
create trigger admin_actions_final before update or delete on admin_actions
    for each row execute function admin_actions_are_final();
create trigger admin_actions_whole before truncate on admin_actions
    for each statement execute function admin_actions_are_final();

-- `user_id` is who wrote or is what was reported, if it is one person. `snapshot` is what the reporter saw.
create table reports (
    id          uuid primary key,
    reporter_id uuid        not null,
    kind        text        not null,
    target_id   uuid        not null,
    user_id     uuid,
    reason      text        not null,
    body        text,
    snapshot    jsonb       not null,
    status      text        not null default 'open'
                check (status in ('open', 'dismissed', 'content_removed', 'user_suspended', 'user_warned')),
    note        text,
    decided_by  uuid,
    decided_at  timestamptz,
    created_at  timestamptz not null,
    check ((status = 'open') = (decided_at is null))
) with (fillfactor = 90);
-- Who reports the same thing again while it is open has one report.
create unique index reports_once on reports (reporter_id, kind, target_id) where status = 'open';
create index reports_status on reports (status, created_at, id);
create index reports_newest on reports (created_at, id);
create index reports_reporter on reports (reporter_id, created_at desc, id desc);
create index reports_user on reports (user_id, created_at desc, id desc);

create table appeals (
    id         uuid primary key,
    measure_id uuid        not null, -- a row of admin_actions
    user_id    uuid        not null,
    body       text        not null,
    status     text        not null default 'open' check (status in ('open', 'upheld', 'granted')),
    note       text,
    decided_by uuid,
    decided_at timestamptz,
    created_at timestamptz not null,
    check ((status = 'open') = (decided_at is null))
) with (fillfactor = 90);
create unique index appeals_once on appeals (measure_id) where status = 'open';
create index appeals_status on appeals (status, created_at, id);
create index appeals_newest on appeals (created_at, id);
create index appeals_measure on appeals (measure_id);
create index appeals_user on appeals (user_id, created_at desc, id desc);
