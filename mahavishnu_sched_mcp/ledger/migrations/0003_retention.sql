-- What retention needs: to find what is old without reading the rest, and to forget no promise.

-- When retention first saw the job over: it is kept `retention.runs_days` from then on.
alter table job add column over_since integer;
-- The newest fire whose record retention has removed.
alter table job add column swept_until integer;

-- What the index `run_fire` promises of records that are there, this promises of those removed:
-- a fire that had its record gets no second one, also when the clock is set back.
create trigger run_swept before insert on run
    when new.cause in ('schedule', 'catch_up')
     and new.scheduled_for <= (select swept_until from job where serial = new.job_serial)
begin
    select raise(ignore);
end;

-- The highest generation of a job that retention has removed: no new job gets it or a lower one.
create table retired (
    one        integer primary key check (one = 1),
    generation integer not null
);
insert into retired (one, generation) values (1, 0);

-- The newest finished runs of a job id, all of them and the dead ones.
create index run_kept on run (job_id, seq) where finished_at is not null;
create index run_dead on run (job_id, seq) where state = 'dead';
-- Who replays a run.
create index run_replay on run (replay_of) where replay_of is not null;
-- Removing a job makes SQLite look for its runs; without this it would read all of them.
create index run_of_serial on run (job_serial);
-- Between equals SQLite takes the newer index: unfinished runs are few, and so is what is read.
drop index if exists run_open;
create index run_open on run (job_serial) where state in ('pending', 'running');
-- What a key holds.
create index key_of_run on idempotency_key (run_id) where run_id is not null;
create index key_of_job on idempotency_key (job_serial) where job_serial is not null;
