-- Looking: what can be seen of the queue.

-- Whether the queue has given the task to a later attempt.
create or replace function actorq.overtaken(its_id text, its_attempt integer) returns boolean
language plpgsql stable as $$
begin
    return (
        select exists (
            select 1 from actorq.tasks t
            where t.task_id = its_id and t.place = 'leased' and t.attempt > its_attempt));
end $$;

-- How a task ended; null while it is live, or if that is not known.
create or replace function actorq.ending_of(task text) returns text
language plpgsql stable as $$
begin
    return (
        select coalesce(
            (select 'dead' from actorq.dead d where d.task_id = task),
            (select e.ending from actorq.ended e where e.task_id = task),
            (select s.ending from actorq.steps s where s.task_id = task)));
end $$;

-- ["locate", task_id]
create or replace function actorq.act_locate(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := (select to_jsonb(coalesce(
        (select t.place::text from actorq.tasks t where t.task_id = act->>1),
        (select 'dead' from actorq.dead d where d.task_id = act->>1),
        (select 'done' from actorq.ended e where e.task_id = act->>1),
        (select case when s.ending is null then 'pending' when s.ending = 'dead' then 'dead'
            else 'done' end from actorq.steps s where s.task_id = act->>1),
        -- committed with a transaction, and not accepted yet; looked for where it is nowhere else
        (select 'pending' from actorq.inbox i
            where i.sent->>0 = act->>1 or i.sent->9->3 ? (act->>1) limit 1),
        'unknown')));
end $$;

-- ["is_ending", task_id]
create or replace function actorq.act_is_ending(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := to_jsonb(
        exists (select 1 from actorq.outbox o where o.task_id = act->>1)
        or exists (select 1 from actorq.early e where e.task_id = act->>1));
end $$;

-- ["ending", task_id]
create or replace function actorq.act_ending(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := coalesce(to_jsonb(actorq.ending_of(act->>1)), 'null');
end $$;

-- ["ended", [task_id...]]: those of them that are done or dead
create or replace function actorq.act_ended(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    ids text[] := array(select jsonb_array_elements_text(act->1));
begin
    answer := (select coalesce(jsonb_agg(x.task_id), '[]') from (
        select d.task_id from actorq.dead d where d.task_id = any(ids)
        union
        select e.task_id from actorq.ended e where e.task_id = any(ids)
        union
        select s.task_id from actorq.steps s where s.task_id = any(ids) and s.ending is not null
    ) x where not exists (select 1 from actorq.tasks t where t.task_id = x.task_id));
end $$;

-- ["statistics"]: every task is counted
create or replace function actorq.act_statistics(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := (select jsonb_build_object(
        'places', (select coalesce(jsonb_agg(jsonb_build_array(queue, place, n)), '[]') from (
            select queue, place, count(*) as n from actorq.tasks group by queue, place) counted),
        'queues', (select coalesce(jsonb_agg(queue), '[]') from actorq.queues),
        'done', (select coalesce(sum(done), 0) from actorq.tallies),
        'dead', (select count(*) from actorq.dead),
        'refused', (select coalesce(sum(refused), 0) from actorq.tallies),
        'paused', (select coalesce(jsonb_agg(queue order by queue), '[]') from actorq.paused)));
end $$;

-- ["dead", task_id|null]: the dead letters, the oldest first
create or replace function actorq.act_dead(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    bodies bytea[];
begin
    select
        jsonb_agg(jsonb_build_array(
            f.task_id, case when f.body is not null then cardinality(taken) + f.n - 1 end,
            f.said, f.alias, f.name, f.queue, f.reason, f.attempts, f.error, f."end", f.died)
            order by f.n),
        array_agg(f.body order by f.n)
    into answer, bodies
    from (
        select d.*, row_number() over (order by d.seq) as n
        from actorq.dead d where act->>1 is null or d.task_id = act->>1
    ) f;
    answer := coalesce(answer, '[]');
    taken := taken || coalesce(bodies, '{}');
end $$;

-- ["queued", queue|null, limit]: those that have not ended, the first accepted first
create or replace function actorq.act_queued(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    bodies bytea[];
begin
    select
        jsonb_agg(jsonb_build_array(
            f.task_id, case when f.body is not null then cardinality(taken) + f.n - 1 end,
            f.said, f.alias, f.name, f.queue, f.place, f.attempt)
            order by f.n),
        array_agg(f.body order by f.n)
    into answer, bodies
    from (
        select t.*, row_number() over (order by t.id) as n from actorq.tasks t
        where t.task_id = any(array(
            select q.task_id from actorq.tasks q where act->>1 is null or q.queue = act->>1
            order by q.id limit (act->>2)::integer))
    ) f;
    answer := coalesce(answer, '[]');
    taken := taken || coalesce(bodies, '{}');
end $$;

-- ["workers"]: those whose sessions are not over, the oldest first, and their jobs
create or replace function actorq.act_workers(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := (select coalesce(jsonb_agg(jsonb_build_array(
        s.worker, s.id, s.pid, s.host,
        case when s.names is not null
            then jsonb_build_array(to_jsonb(s.names), to_jsonb(s.weights)) end,
        s.since, s.beat,
        (select coalesce(jsonb_agg(
            jsonb_build_array(t.task_id, t.name, t.queue, t.attempt, t.since) order by t.token), '[]')
            from actorq.tasks t where t.session = s.id and t.place = 'leased')
        ) order by s.since, s.opened), '[]')
    from actorq.sessions s where s.id <> all(actorq.sessions_over(m))
        -- whose peer has left, in order, and holds nothing: it is no worker any more
        and (exists (select 1 from actorq.calls c where c.peer = s.peer)
            or exists (select 1 from actorq.tasks t where t.session = s.id and t.place = 'leased')));
end $$;

-- When "promote" has something to do; null if it never has.
create or replace function actorq.next_due() returns double precision
language plpgsql stable as $$
begin
    return (
        select least(
            (select due from actorq.tasks where place = 'scheduled' order by due, number limit 1),
            (select expires from actorq.tasks where expires is not null and place <> 'leased'
                order by expires, id limit 1),
            actorq.gates_next()));
end $$;

-- How things are now: a look-up each, however many tasks there are; what is seldom there is only looked
-- at if it is.  *looks*: whether sessions are over is found out, too, which each who calls does now and then.
create or replace function actorq.view(
    m actorq.moment, seen bigint, room integer, looks boolean, inout taken bytea[], out shown jsonb
) language plpgsql as $$
declare
    there record;
    notices jsonb;
    told jsonb;
    bodies bytea[];
begin
    select
        (select true from actorq.tasks where place = 'ready'
            order by queue desc, priority, number desc limit 1) is not null as claimable,
        exists (select 1 from actorq.paused) as paused,
        exists (select 1 from actorq.tasks where place = 'leased') as leased,
        (select due from actorq.tasks where place = 'scheduled' order by due, number limit 1) as due,
        (select expires from actorq.tasks where expires is not null and place <> 'leased'
            order by expires, id limit 1) as expires,
        exists (select 1 from actorq.paces p where p.alarm is not null) as paced,
        exists (select 1 from actorq.tasks where place = 'parked') as parked,
        exists (select 1 from actorq.tasks where cancelled) as cancelled,
        exists (select 1 from actorq.outbox) as told,
        array(select s.id from actorq.sessions s where s.peer = m.peer) as good
    into there;
    if there.claimable and there.paused then
        there.claimable := actorq.busy_queues(null) <> '{}';
    end if;
    if there.cancelled then
        select jsonb_agg(jsonb_build_array(t.session, t.task_id, t.attempt, t.token))
        into notices from actorq.tasks t where t.cancelled and t.session = any(there.good);
    end if;
    if there.told and room > 0 then
        select
            jsonb_agg(jsonb_build_array(
                f.number, f.task_id, f.attempts, f."end", f.error, f.step, f.alias,
                case when f.body is not null then cardinality(taken) + f.n - 1 end, f.said)
                order by f.n),
            array_agg(f.body order by f.n)
        into told, bodies
        from (
            select o.*, row_number() over (order by o.number) as n from actorq.outbox o
            where o.peer = m.peer and o.number > seen order by o.number limit room
        ) f;
        taken := taken || coalesce(bodies, '{}');
    end if;
    shown := jsonb_build_object(
        'claimable', there.claimable,
        'leased', there.leased or there.told and actorq.left_behind(m) <> '{}',
        'over', looks and actorq.sessions_over(m) <> '{}',
        'due', least(there.due, there.expires, case when there.paced then actorq.gates_next() end),
        'good', to_jsonb(there.good),
        'notices', coalesce(notices, '[]'),
        'parked', case when there.parked then actorq.parked_names() else '[]' end,
        'outbox', coalesce(told, '[]'));
end $$;

-- One look-up for each, however many tasks there are of it.
create or replace function actorq.parked_names() returns jsonb
language plpgsql stable as $$
begin
    return (
        with recursive parked as (
            (select name from actorq.tasks where place = 'parked' order by name limit 1)
            union all
            select (select t.name from actorq.tasks t
                    where t.place = 'parked' and t.name > parked.name order by t.name limit 1)
            from parked where parked.name is not null
        )
        select coalesce(jsonb_agg(name), '[]') from parked where name is not null);
end $$;
