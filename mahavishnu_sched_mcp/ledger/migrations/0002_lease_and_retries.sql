-- A pending run that waits for its retry starts no earlier than this.
alter table run add column available_at integer;
-- What an unfinished run is of, where its job was changed since the run was made; null: the job's.
alter table run add column definition text;
-- Waiting runs are looked through after every commit, in the order in which they may start.
create index run_waiting on run (scheduled_for, seq) where state = 'pending';

-- The lease: until which millisecond of the monotonic clock of which boot the leader leads.
-- The wall clock may be set, the monotonic one is the same in every process of a machine.
alter table leader add column boot text not null default '';
alter table leader add column expires_ms integer not null default 0;  -- 0: given up in order
alter table leader add column holds_lock integer not null default 1;  -- so its death frees the lock
