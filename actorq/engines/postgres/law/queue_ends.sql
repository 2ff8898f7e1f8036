-- How tasks end: out of the table, remembered, buried, told.
--
-- A task that leaves the table in a step is somewhere else at the end of it (promise 30).

create or replace function actorq.tally(m actorq.moment, done bigint, refused bigint) returns void
language plpgsql as $$
begin
    update actorq.tallies t
    set done = t.done + tally.done, refused = t.refused + tally.refused where t.peer = m.peer;
    if not found then
        insert into actorq.tallies as t values (m.peer, tally.done, tally.refused)
        on conflict (peer) do update
        set done = t.done + tally.done, refused = t.refused + tally.refused;
    end if;
end $$;

-- One end more that no worker reports.
create or replace function actorq.tell(
    m actorq.moment, task text, attempts integer, its_end jsonb, error text, alias text, said text,
    body bytea, step boolean
) returns void language plpgsql as $$
begin
    insert into actorq.outbox (task_id, peer, attempts, "end", error, step, alias, said, body)
    values (task, m.peer, attempts, its_end, error, step, alias, said, body);
    perform actorq.push('ends', m.peer);
end $$;

-- They count as accepted still: sending them again is harmless.
create or replace function actorq.remember(m actorq.moment, ids text[], how text) returns void
language plpgsql as $$
declare
    newest bigint;
begin
    if m.alone then
        with noted as (
            insert into actorq.ended (task_id, ending) select t, how from unnest(ids) t
            on conflict (task_id) do nothing returning seq
        )
        select max(seq) into newest from noted;
    else -- cheaper; if one is there already, all is done again, alone
        with noted as (
            insert into actorq.ended (task_id, ending) select t, how from unnest(ids) t
            returning seq
        )
        select max(seq) into newest from noted;
    end if;
    -- beyond those remembered there are places, so that they are taken out in one go
    if newest / 512 <> (newest - cardinality(ids)) / 512 then
        delete from actorq.ended where seq <= newest - m.remember;
    end if;
end $$;

-- A later step was accepted, or never will be.
create or replace function actorq.chain_of(bounds jsonb) returns text[]
language plpgsql immutable as $$
begin
    return (
        select case when jsonb_typeof(bounds->3) = 'array'
            then array(select jsonb_array_elements_text(bounds->3)) else '{}' end);
end $$;

-- *e* did not succeed, or was not to go on: the waiters of its later steps are told.
create or replace function actorq.break_off(
    m actorq.moment, e actorq.tasks, how text, its_end jsonb, error text, kept text[]
) returns void language plpgsql as $$
declare
    step text;
begin
    if e.bounds is null then return; end if;
    foreach step in array actorq.chain_of(e.bounds) loop
        continue when step = any(kept);
        delete from actorq.steps where task_id = step;
        insert into actorq.steps (task_id, ending) values (step, how);
        perform actorq.tell(
            m, step, 1,
            jsonb_build_array('broken', jsonb_build_array(
                e.name, e.task_id, how = 'cancelled', its_end, error)),
            null, e.alias, e.said, e.body, true);
    end loop;
    delete from actorq.steps where ending is not null and seq <=
        (select seq from actorq.steps where ending is not null order by seq desc limit 1)
        - m.remember;
end $$;

-- Out of the table, to nowhere yet.
create or replace function actorq.take_out(m actorq.moment, e actorq.tasks) returns void
language plpgsql as $$
begin
    delete from actorq.tasks where task_id = e.task_id;
    if e.offer is not null and e.place = 'ready' then
        perform actorq.gate_look(m, e.offer);
    end if;
end $$;

create or replace function actorq.key_ended(bounds jsonb, task text) returns void
language plpgsql as $$
begin
    if bounds->0->>2 <> 'time' then
        delete from actorq.keys where key = bounds->0->>0 and task_id = task and until is null;
    end if;
end $$;

-- It has ended, and has left the table.
create or replace function actorq.end_it(
    m actorq.moment, e actorq.tasks, how text, its_end jsonb default null, error text default null
) returns void language plpgsql as $$
begin
    perform actorq.tally(m, 1, 0);
    perform actorq.remember(m, array[e.task_id], how);
    if e.bounds is null then return; end if;
    perform actorq.key_ended(e.bounds, e.task_id);
    if how <> 'done' then
        perform actorq.break_off(m, e, how, its_end, error, '{}');
    end if;
end $$;

-- No worker will store this task's end: leave it for the broker to store.
create or replace function actorq.report(
    m actorq.moment, e actorq.tasks, its_end jsonb, error text default null
) returns void language plpgsql as $$
begin
    perform actorq.tell(m, e.task_id, e.attempt, its_end, error, e.alias, e.said, e.body, false);
end $$;

-- It has ended, and no worker says so.
create or replace function actorq.end_unreported(
    m actorq.moment, e actorq.tasks, how text, its_end jsonb
) returns void language plpgsql as $$
begin
    perform actorq.take_out(m, e);
    perform actorq.report(m, e, its_end);
    perform actorq.end_it(m, e, how, its_end);
end $$;

-- To the dead letters; the oldest goes if there are too many.  *its_end*: if no worker said why.
create or replace function actorq.bury(
    m actorq.moment, e actorq.tasks, reason text, error text, its_end jsonb
) returns void language plpgsql as $$
declare
    its_seq bigint;
begin
    perform actorq.take_out(m, e);
    insert into actorq.dead
        (task_id, name, queue, reason, attempts, error, "end", died, alias, said, body)
    values (e.task_id, e.name, e.queue, reason, e.attempt, error, its_end, m.now,
        e.alias, e.said, e.body)
    returning seq into its_seq;
    -- counting ten thousand costs a millisecond: not each time then
    if m.keep_dead < 1000 or its_seq % 64 = 0 then
        delete from actorq.dead where seq <=
            (select seq from actorq.dead order by seq desc offset m.keep_dead limit 1);
    end if;
    if e.bounds is null then return; end if;
    perform actorq.key_ended(e.bounds, e.task_id);
    perform actorq.break_off(
        m, e, 'dead',
        coalesce(its_end, case when error is null
            then jsonb_build_array('died', jsonb_build_array(reason)) else '["given", []]' end),
        error, '{}');
end $$;

-- Its time to start went by.
create or replace function actorq.expire(m actorq.moment, e actorq.tasks) returns void
language plpgsql as $$
begin
    perform actorq.end_unreported(m, e, 'expired', '["expired", []]');
end $$;

-- Cancel a task that waits.
create or replace function actorq.call_off(m actorq.moment, e actorq.tasks, its_end jsonb)
returns void language plpgsql as $$
begin
    perform actorq.end_unreported(m, e, 'cancelled', its_end);
end $$;

-- A task that runs: its worker hears of it.
create or replace function actorq.ask_to_cancel(m actorq.moment, e actorq.tasks) returns void
language plpgsql as $$
begin
    if not e.cancelled then
        update actorq.tasks set cancelled = true where task_id = e.task_id;
        perform actorq.push('ends', m.peer);
    end if;
end $$;

-- Dead letters go, and are remembered; how many there were.
create or replace function actorq.forget_dead(m actorq.moment, ids text[]) returns bigint
language plpgsql as $$
declare
    gone text[];
begin
    with left_now as (
        delete from actorq.dead where task_id = any(ids) returning seq, task_id
    )
    select array_agg(task_id order by seq) into gone from left_now;
    if gone is null then return 0; end if;
    perform actorq.remember(m, gone, 'dead');
    return cardinality(gone);
end $$;
