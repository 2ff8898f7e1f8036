-- Results, progress, and notes of what is gone.

-- Store results: for each null, or why it is stale.  *fenced*: the caller knows that no later attempt runs.
create or replace function actorq.store_results(
    m actorq.moment, results jsonb, given bytea, fenced boolean
) returns jsonb language plpgsql as $$
declare
    ids text[];
    distinct_ids bigint;
    stored text[];
    verdicts jsonb[];
    verdict jsonb;
begin
    select array_agg(r.v ->> 0 order by r.n), count(distinct r.v ->> 0)
        into ids, distinct_ids
        from jsonb_array_elements(results) with ordinality r(v, n);
    if ids is null then
        return '[]';
    elsif distinct_ids < cardinality(ids) then  -- one after the other: the later may replace the earlier
        for i in 0 .. cardinality(ids) - 1 loop
            verdicts := verdicts
                || (actorq.store_results(m, jsonb_build_array(results -> i), given, fenced) -> 0);
        end loop;
        return to_jsonb(verdicts);
    end if;
    perform actorq.sweep_results(m, ids);
    -- in the order of the ids: two that store the same ones do not wait for each other in a ring
    with incoming as (
        select r.v ->> 0 as task_id, (r.v ->> 1)::int as attempt,
               m.now + coalesce((r.v ->> 2)::double precision, m.ttl) as expires,
               (r.v ->> 4)::boolean as lost, actorq.cut(given, (r.v ->> 3)::bigint) as data
        from jsonb_array_elements(results) r(v)
        where fenced or not actorq.overtaken(r.v ->> 0, (r.v ->> 1)::int)
        order by 1
    ), done as (
        insert into actorq.results as kept (task_id, seq, attempt, expires, lost, data)
        select i.task_id, nextval('actorq.results_seq'), i.attempt, i.expires, i.lost, i.data
        from incoming i
        on conflict (task_id) do update
            set seq = excluded.seq, attempt = excluded.attempt, expires = excluded.expires,
                lost = excluded.lost, data = excluded.data
            where kept.attempt < excluded.attempt
               or (kept.attempt = excluded.attempt and not excluded.lost)
        returning kept.task_id
    )
    select coalesce(array_agg(done.task_id), '{}') into stored from done;
    delete from actorq.early e where e.task_id = any (stored);
    if cardinality(stored) > 0 then
        perform actorq.push_ids('results', m.peer, stored);
    end if;
    if cardinality(stored) = cardinality(ids) then
        return to_jsonb(array_fill(null::text, array[cardinality(ids)]));
    end if;
    select jsonb_agg(
            case when r.v ->> 0 = any (stored) then null
                 when not fenced and actorq.overtaken(r.v ->> 0, (r.v ->> 1)::int) then 'runs'
                 when (r.v ->> 1)::int < k.attempt then 'stored' end
            order by r.n)
        into verdict
        from jsonb_array_elements(results) with ordinality r(v, n)
        left join actorq.results k on k.task_id = r.v ->> 0;
    return verdict;
end
$$;

-- The same of words that apply, each of another task: who is stale is passed over.
create or replace function actorq.store_result_rows(
    m actorq.moment, ids text[], attempts integer[], ttls double precision[], losts boolean[],
    bodies bigint[], given bytea
) returns void language plpgsql as $$
declare
    stored text[];
begin
    perform actorq.sweep_results(m, ids);
    if not m.alone then  -- cheaper; if one is there already, all is done again, alone
        insert into actorq.results (task_id, seq, attempt, expires, lost, data)
        select i.task_id, nextval('actorq.results_seq'), i.attempt, m.now + coalesce(i.ttl, m.ttl),
            i.lost, actorq.cut(given, i.body)
        from unnest(ids, attempts, ttls, losts, bodies)
            as i(task_id, attempt, ttl, lost, body);
        stored := ids;
    else
        with done as (
            insert into actorq.results as kept (task_id, seq, attempt, expires, lost, data)
            select i.task_id, nextval('actorq.results_seq'), i.attempt, m.now + coalesce(i.ttl, m.ttl),
                i.lost, actorq.cut(given, i.body)
            from (
                select * from unnest(ids, attempts, ttls, losts, bodies)
                    as x(task_id, attempt, ttl, lost, body)
                order by 1
            ) i
            on conflict (task_id) do update
                set seq = excluded.seq, attempt = excluded.attempt, expires = excluded.expires,
                    lost = excluded.lost, data = excluded.data
                where kept.attempt < excluded.attempt
                   or (kept.attempt = excluded.attempt and not excluded.lost)
            returning kept.task_id
        )
        select coalesce(array_agg(done.task_id), '{}') into stored from done;
    end if;
    delete from actorq.early e where e.task_id = any (stored);
    if cardinality(stored) > 0 then
        perform actorq.push_ids('results', m.peer, stored);
    end if;
end
$$;

-- Take out some of what has expired, and all of it among *ids*.
create or replace function actorq.sweep_results(m actorq.moment, ids text[]) returns void
language plpgsql as $$
declare
    over text[];
begin
    over := array(
        select r.task_id from actorq.results r where r.expires <= m.now
        order by r.expires limit 64 for update skip locked);
    if cardinality(over) > 0 then
        perform actorq.bury_results(m, over, 'expired');
        if cardinality(over) = 64 then
            perform actorq.bury_results(m, array(
                select r.task_id from actorq.results r
                where r.task_id = any (ids) and r.expires <= m.now order by r.task_id for update
            ), 'expired');
        end if;
    end if;
    delete from actorq.progress p where p.task_id = any (array(
        select o.task_id from actorq.progress o where o.expires <= m.now
        order by o.expires limit 64 for update skip locked));
end
$$;

-- The oldest go that are more than *most*.
create or replace function actorq.evict_results(m actorq.moment, most bigint) returns void
language plpgsql as $$
declare
    last_gone bigint := (select r.seq from actorq.results r order by r.seq desc offset most limit 1);
begin
    if last_gone is not null then
        perform actorq.bury_results(m, array(
            select r.task_id from actorq.results r where r.seq <= last_gone
            order by r.seq for update skip locked
        ), 'evicted ' || most);
    end if;
end
$$;

-- These results go, with their progress; it is remembered that they were there.
create or replace function actorq.bury_results(m actorq.moment, ids text[], why text) returns void
language plpgsql as $$
declare
    buried text[];
begin
    if cardinality(ids) = 0 then
        return;
    end if;
    delete from actorq.progress p where p.task_id = any (ids);
    with gone as (delete from actorq.results r where r.task_id = any (ids) returning r.task_id)
    select coalesce(array_agg(gone.task_id), '{}') into buried from gone;
    perform actorq.note_gone(m, buried, why);
end
$$;

-- Remember it, forget the oldest such notes, and tell who waits.
create or replace function actorq.note_gone(m actorq.moment, ids text[], noted text) returns void
language plpgsql as $$
begin
    if cardinality(ids) = 0 then
        return;
    end if;
    insert into actorq.gone as known (task_id, seq, why)
        select i.task_id, nextval('actorq.gone_seq'), noted
        from (select unnest(ids) as task_id order by 1) i
        on conflict (task_id) do update set seq = excluded.seq, why = excluded.why;
    delete from actorq.gone g where g.seq <= currval('actorq.gone_seq') - 100000;
    delete from actorq.early e where e.task_id = any (ids);
    perform actorq.push_ids('results', m.peer, ids);
end
$$;

create or replace function actorq.act_get_results(
    m actorq.moment, act jsonb, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    ids text[] := array(select jsonb_array_elements_text(act -> 1));
    found jsonb;
    bodies bytea[];
    gone jsonb;
begin
    select jsonb_agg(jsonb_build_array(f.task_id, cardinality(taken) + f.n - 1) order by f.n),
           array_agg(f.data order by f.n)
        into found, bodies
        from (select r.task_id, r.data, row_number() over () as n
              from actorq.results r
              where r.task_id = any (ids) and (r.expires is null or r.expires > m.now)) f;
    if found is not null then
        taken := taken || bodies;
    end if;
    if coalesce(jsonb_array_length(found), 0) < cardinality(ids) then
        select jsonb_agg(jsonb_build_array(i.task_id, case when r.task_id is null then g.why else 'expired' end))
            into gone
            from unnest(ids) i(task_id)
            left join actorq.results r on r.task_id = i.task_id
            left join actorq.gone g on g.task_id = i.task_id
            where case when r.task_id is null then g.task_id is not null else r.expires <= m.now end;
    end if;
    answer := jsonb_build_object('results', coalesce(found, '[]'), 'gone', coalesce(gone, '[]'));
end
$$;

create or replace function actorq.act_delete_results(m actorq.moment, act jsonb) returns jsonb
language plpgsql as $$
begin
    perform actorq.bury_results(
        m, array(select i.task_id from jsonb_array_elements_text(act -> 1) i(task_id) order by 1), 'deleted');
    return null;
end
$$;

create or replace function actorq.act_give_up(m actorq.moment, act jsonb) returns jsonb
language plpgsql as $$
begin
    delete from actorq.progress p where p.task_id = act ->> 1;
    perform actorq.note_gone(m, array[act ->> 1], 'unsaved ' || (act ->> 2));
    return null;
end
$$;

create or replace function actorq.act_set_progress(m actorq.moment, act jsonb, given bytea) returns jsonb
language plpgsql as $$
declare
    id text := act ->> 1;
    reported int := (act ->> 2)::int;
    number bigint;
begin
    if actorq.overtaken(id, reported) then
        return null;
    end if;
    if exists (select from actorq.results r where r.task_id = id and r.expires <= m.now) then
        perform actorq.bury_results(m, array[id], 'expired');
    end if;
    if exists (select from actorq.results r where r.task_id = id and r.attempt >= reported) then
        return null;
    end if;
    insert into actorq.progress as kept (task_id, seq, attempt, expires, data)
        values (id, nextval('actorq.progress_seq'), reported, m.now + m.ttl, actorq.cut(given, (act ->> 3)::bigint))
        on conflict (task_id) do update
            set seq = nextval('actorq.progress_seq'), attempt = excluded.attempt,
                expires = excluded.expires, data = excluded.data
            where kept.attempt <= excluded.attempt
        returning kept.seq into number;
    if number is not null then
        perform actorq.push_ids('results', m.peer, array[id]);
    end if;
    return to_jsonb(number);
end
$$;

create or replace function actorq.act_get_progress(
    m actorq.moment, act jsonb, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    bodies bytea[];
begin
    select jsonb_agg(jsonb_build_array(f.seq, f.task_id, cardinality(taken) + f.n - 1) order by f.n),
           array_agg(f.data order by f.n)
        into answer, bodies
        from (select p.seq, p.task_id, p.data, row_number() over (order by p.seq) as n
              from actorq.progress p
              where p.task_id = any (array(select jsonb_array_elements_text(act -> 1)))
                and (p.expires is null or p.expires > m.now)
                and not exists (select from actorq.results r
                                where r.task_id = p.task_id and r.expires <= m.now)) f;
    if answer is null then
        answer := '[]';
    else
        taken := taken || bodies;
    end if;
end
$$;

-- How many notes of what is gone have been dropped: at most so many.
create or replace function actorq.act_forgotten() returns jsonb
language sql as $$
    select to_jsonb(greatest(s.last_value - 100000, 0)) from actorq.gone_seq s
$$;
