-- Instants are whole microseconds since 1970-01-01 UTC; JSON is text; booleans are 0 and 1.

create table job (
    serial           integer primary key autoincrement,
    job_id           text    not null,
    generation       integer not null,
    revision         integer not null default 1,
    applied_revision integer not null default 0,
    change           integer not null,             -- rises with every change of any job
    backend          text    not null,
    target           text    not null,
    state            text    not null,
    name             text    not null,
    definition       text    not null,             -- JobDefinition
    fingerprint      text    not null,             -- of definition, name and tags as asked for
    trigger          text,                         -- resolved Trigger; null: enqueue without trigger
    next_run_at      integer,
    paused_at        integer,
    paused_until     integer,
    created_at       integer not null,
    created_by       text    not null,
    origin           text    not null,
    tags             text    not null default '[]',
    note             text    not null default '',
    fired            integer not null default 0,
    succeeded        integer not null default 0,
    failed           integer not null default 0,
    timed_out        integer not null default 0,
    cancelled        integer not null default 0,
    interrupted      integer not null default 0,
    dead             integer not null default 0,
    skipped          integer not null default 0,
    missed           integer not null default 0,
    last_run_id      text,
    reference        text    not null default '{}',
    unique (job_id, generation)
);
create unique index job_unfinished on job (job_id) where state not in ('completed', 'cancelled');
create index job_change on job (change);
create index job_state on job (state, serial);
-- Every creation counts the jobs that limits.max_jobs is about, every list its total: from here.
create index job_counted on job (serial)
    where state not in ('completed', 'cancelled') and origin <> 'system';

create table run (
    seq                integer primary key autoincrement,
    run_id             text    not null unique,
    job_serial         integer not null references job (serial),
    job_id             text    not null,
    scheduled_for      integer not null,
    cause              text    not null,
    state              text    not null,
    reason             text,
    created_at         integer not null,
    started_at         integer,
    finished_at        integer,
    fires              integer not null default 1,
    last_scheduled_for integer,
    attempts           integer not null default 0,
    interruptions      integer not null default 0,
    worker             text,
    output             text    not null default '',
    output_bytes       integer not null default 0,
    output_truncated   integer not null default 0,
    error_type         text,
    error_message      text,
    replay_of          text,
    reference          text    not null default '{}',
    cancel_requested   integer not null default 0
);
-- One run per fire, whatever happens: a second claim of the same fire collides here.
create unique index run_fire on run (job_serial, scheduled_for) where cause in ('schedule', 'catch_up');
create index run_of_job on run (job_id, scheduled_for, seq);
create index run_by_time on run (scheduled_for, seq);
create index run_open on run (job_serial) where state in ('pending', 'running');
create index run_ended on run (finished_at) where finished_at is not null;

create table attempt (
    run_id      text    not null references run (run_id),
    number      integer not null,
    term        integer not null,
    started_at  integer not null,
    finished_at integer,
    outcome     text,
    worker      text,
    primary key (run_id, number)
) without rowid;

create table node (
    run_id      text    not null references run (run_id),
    node        text    not null,
    position    integer not null,                  -- in the order they were first heard of
    state       text    not null,
    started_at  integer,
    finished_at integer,
    attempts    integer not null default 1,
    reason      text,
    primary key (run_id, node)
) without rowid;

-- What an engine has to be handed; a row stays until the engine has given its receipt.
create table outbox (
    run_id      text    primary key references run (run_id),
    backend     text    not null,
    work        text    not null,                  -- Dispatch
    created_at  integer not null,
    tries       integer not null default 0,
    next_try_at integer not null,
    sent_at     integer,
    last_error  text
) without rowid;
create index outbox_waiting on outbox (next_try_at) where sent_at is null;

create table idempotency_key (
    principal   text    not null,
    tool        text    not null,
    key         text    not null,
    fingerprint text    not null,
    job_serial  integer,
    run_id      text,
    created_at  integer not null,
    primary key (principal, tool, key)
) without rowid;

create table leader (
    one        integer primary key check (one = 1),
    term       integer not null,
    pid        integer not null,
    host       text    not null,
    started_at integer not null
);
insert into leader (one, term, pid, host, started_at) values (1, 0, 0, '', 0);

-- What the leader knows of its engines, for processes that do not lead.
create table engine_health (
    backend    text    primary key,
    health     text    not null,
    updated_at integer not null
) without rowid;

create table reminder (
    run_id     text    primary key,
    message    text    not null,
    created_at integer not null
) without rowid;
create index reminder_by_time on reminder (created_at);

create table metric_sample (
    at     integer primary key,
    sample text    not null
);
