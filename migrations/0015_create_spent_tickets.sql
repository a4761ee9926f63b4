-- Tickets that somebody has come with, on whatever node: the row is what makes a ticket good once. A ticket lives for half
-- a minute; whoever spends one cleans up behind others.

create table spent_tickets (
    id         bytea primary key,
    expires_at timestamptz not null
);
create index spent_tickets_expires on spent_tickets (expires_at);
