-- What the journal, the nodes and the sweep stand on (ARCHITECTURE.md sections 4, 5 and 7).

-- One row per node. `incarnation` rises with every start, so that rows of two lives of one node are never confused;
-- `seen` is renewed once a second by PostgreSQL's clock; `view` rises whenever the set of live nodes changes.
create table nodes (
    node        text primary key,
    incarnation bigint      not null default 1,
    seen        timestamptz not null default now(),
    view        bigint      not null default 0
) with (fillfactor = 50);

-- One row per flush: the receipt that proves a commit whose answer was lost, and what the sweep reads.
-- `heads` is an array of [kind, id, old rev, new rev]; kind 'c' is a conversation, 'u' a user.
-- Rows are kept one hour. `xid` is indexed for the sweep; it only rises, so the index stays small and dense.
create table flushes (
    node        text        not null,
    incarnation bigint      not null,
    n           bigint      not null,
    xid         xid8        not null default pg_current_xact_id(),
    heads       jsonb       not null,
    at          timestamptz not null default now(),
    primary key (node, incarnation, n)
);
create index flushes_xid on flushes (xid);

-- One row. `generation` is raised by `kith restored`; together with system identifier and timeline it is the epoch.
create table deployment (
    one        boolean primary key default true check (one),
    generation bigint  not null default 1
);
insert into deployment default values;

-- Called inside a flush: fewer rows stored than announced means that a client id was stored before. Raising takes the
-- whole statement back, so that there is never a revision without its row. KJ001 is ours; no class of PostgreSQL's.
create function journal_expect(stored bigint, announced bigint) returns boolean
language plpgsql as $$
begin
    if stored <> announced then
        raise exception 'the flush stored % of % rows', stored, announced using errcode = 'KJ001';
    end if;
    return true;
end
$$;
