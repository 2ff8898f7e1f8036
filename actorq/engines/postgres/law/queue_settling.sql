-- Settling: a worker's word on its deliveries; each whose fence is stale is refused (promise 34).
--
-- word: [task_id, attempt, token, ending, delay, reason, error, then, early, result]

-- Settlements that follow one another: for each an array of booleans, as JSON.  Plain tasks that are done
-- go in one statement, side by side with others: what a session holds nobody else touches, but alone.
create or replace function actorq.settle_all(
    m actorq.moment, acts jsonb, first integer, last integer, given bytea,
    inout taken bytea[], out answers text
) language plpgsql as $$
declare
    word_acts integer[];   -- of each word, whose it is
    good integer[];        -- the places of words that apply
    gone text[];           -- plain ones that have ended, and were taken out
    rest jsonb[];          -- the other words that apply
    word jsonb;
    ids text[];            -- results of words that apply
    attempts integer[];
    ttls double precision[];
    losts boolean[];
    bodies bigint[];
begin
    if m.early then
        insert into actorq.early as known (task_id, session, attempt, alias, said, body)
        select t.task_id, t.session, t.attempt, t.alias, t.said, t.body
        from (
            select distinct w->>0 as task_id, (w->>2)::bigint as token,
                (acts->a->>1)::bigint as session
            from generate_series(first, last) a, jsonb_array_elements(acts->a->2) w
            where (w->>8)::boolean and w->>3 <> 'retry'
        ) x join actorq.tasks t
            on t.task_id = x.task_id and t.token = x.token and t.session = x.session
        on conflict (task_id) do update set session = excluded.session,
            attempt = excluded.attempt, alias = excluded.alias, said = excluded.said,
            body = excluded.body;
    end if;
    -- Rows are found by their ids alone: as nothing here says that they are leased, which their having
    -- a token says, no other index is ever thought of.
    with words as materialized (
        select
            a as act, w->>0 as task_id, (w->>2)::bigint as token,
            (acts->a->>1)::bigint as session, row_number() over () as n, w,
            w->>3 = 'done' and w->7 = '[]' as plain, w->9 as r
        from generate_series(first, last) a, jsonb_array_elements(acts->a->2) w
    ), ours as materialized (
        select distinct on (x.task_id) x.n, x.w, x.r, x.task_id,
            x.plain and t.bounds is null and not t.cancelled as plain, t.ctid as row
        from words x join actorq.tasks t
            on t.task_id = x.task_id and t.token = x.token and t.session = x.session
        order by x.task_id, x.n
    ), taken_out as (
        delete from actorq.tasks t
        where t.ctid = any(array(select o.row from ours o where o.plain))
        returning t.task_id
    ), results as (
        select
            array_agg(o.r->>0) as ids, array_agg((o.r->>1)::integer) as attempts,
            array_agg((o.r->>2)::double precision) as ttls,
            array_agg((o.r->>3)::bigint) as bodies, array_agg((o.r->>4)::boolean) as losts
        from ours o where o.r <> 'null'
    )
    select
        (select array_agg(x.act order by x.n) from words x),
        (select array_agg(o.n) from ours o),
        (select array_agg(g.task_id) from taken_out g),
        (select array_agg(o.w order by o.n) from ours o where not o.plain),
        r.ids, r.attempts, r.ttls, r.bodies, r.losts
    into word_acts, good, gone, rest, ids, attempts, ttls, bodies, losts
    from results r;
    if ids is not null then
        perform actorq.store_result_rows(m, ids, attempts, ttls, losts, bodies, given);
    end if;
    if gone is not null then
        perform actorq.remember(m, gone, 'done');
    end if;
    if gone is not null or coalesce(cardinality(good), 0) < cardinality(word_acts) then
        perform actorq.tally(m, coalesce(cardinality(gone), 0),
            cardinality(word_acts) - coalesce(cardinality(good), 0));
    end if;
    if rest is not null then
        foreach word in array rest loop
            perform actorq.settle_one(m, word, given);
        end loop;
    end if;
    if cardinality(good) = cardinality(word_acts) and first = last then
        answers := '[true' || repeat(', true', cardinality(good) - 1) || ']';
    else
        answers := actorq.verdicts(first, last, word_acts, good);
    end if;
end $$;

-- For each act, whether its words apply.
create or replace function actorq.verdicts(
    first integer, last integer, word_acts integer[], good integer[]
) returns text language plpgsql immutable as $$
begin
    return (
        select string_agg(v.said, ', ' order by v.act) from (
            select a as act, coalesce((
                select '[' || string_agg(
                    case when u.n = any(good) then 'true' else 'false' end, ', ' order by u.n) || ']'
                from unnest(word_acts) with ordinality u(act, n) where u.act = a), '[]') as said
            from generate_series(first, last) a
        ) v);
end $$;

-- A word whose fence is good.
create or replace function actorq.settle_one(m actorq.moment, word jsonb, given bytea)
returns void language plpgsql as $$
declare
    e actorq.tasks;
    ending text := word->>3;
begin
    select t.* into e from actorq.tasks t where t.task_id = word->>0;
    if not m.alone and (
        e.bounds is not null or e.expires is not null or e.cancelled
        or ending = 'dead' or ending = 'cancelled' or word->7 <> '[]')
    then
        raise sqlstate 'AQ001' using message = 'an end that concerns others';
    end if;
    perform actorq.gate_give_back(m, e.bounds);
    if e.cancelled then
        perform actorq.push('ends', m.peer); -- somebody waits for it, perhaps elsewhere
    end if;
    if ending = 'done' or ending = 'cancelled' then
        perform actorq.take_out(m, e);
        perform actorq.end_it(m, e, ending);
        if e.bounds is not null and e.bounds->3 <> '[]' then
            if ending = 'done' then
                perform actorq.go_on(m, e, word->7, given);
            end if;
        elsif word->7 <> '[]' then
            perform actorq.admit(m, word->7, given);
        end if;
    elsif ending = 'dead' then
        perform actorq.bury(m, e, word->>5, word->>6, null);
    elsif ending = 'retry' or ending = 'requeue' then
        perform actorq.try_again(m, e, ending, (word->>4)::double precision);
    else
        e.attempt := e.attempt - 1; -- it does not count
        if e.cancelled then
            perform actorq.end_unreported(m, e, 'cancelled', '["cancelled", []]');
        else
            perform actorq.make_ready(m, e, ending = 'park');
            perform actorq.push('tasks', m.peer);
        end if;
    end if;
end $$;

create or replace function actorq.try_again(
    m actorq.moment, e actorq.tasks, ending text, delay double precision
) returns void language plpgsql as $$
begin
    if ending = 'retry' then
        e.failures := e.failures + 1;
    else
        e.requeues := e.requeues + 1;
    end if;
    if e.cancelled then
        perform actorq.end_unreported(m, e, 'cancelled', '["cancelled", []]');
        return;
    end if;
    if delay > 0 and not coalesce(e.expires <= m.now, false) then
        e.number := nextval('actorq.ages');
        perform actorq.put(e, 'scheduled', m.now + delay);
    else
        if ending = 'requeue' then -- or it would take its own turn again
            e.number := nextval('actorq.ages');
        end if;
        perform actorq.make_ready(m, e);
    end if;
    perform actorq.push('tasks', m.peer);
end $$;

-- A step of a chain has succeeded: its successor is accepted now, or never.
create or replace function actorq.go_on(
    m actorq.moment, e actorq.tasks, following jsonb, given bytea
) returns void language plpgsql as $$
begin
    delete from actorq.steps
    where task_id = any(actorq.chain_of(e.bounds)) and after is not null;
    if e.severed then
        perform actorq.break_off(m, e, 'cancelled', null, null, '{}');
    elsif following <> '[]' then
        perform actorq.admit(m, following, given);
    else
        perform actorq.break_off(m, e, 'dead', '["unsaid", []]', null, '{}');
    end if;
end $$;

-- ["bury", [[session, task_id, attempt, token, text, error]...]]: leased, and nobody can read them
create or replace function actorq.act_bury(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    each jsonb;
    e actorq.tasks;
begin
    for each in select v from jsonb_array_elements(act->1) v loop
        select t.* into e from actorq.tasks t
        where t.task_id = each->>1 and t.token = (each->>3)::bigint
            and t.session = (each->>0)::bigint and t.place = 'leased';
        continue when not found;
        perform actorq.gate_give_back(m, e.bounds);
        perform actorq.report(m, e, '["given", []]', each->>5);
        perform actorq.bury(m, e, 'cannot be decoded: ' || coalesce(each->>4, ''), each->>5, null);
    end loop;
    answer := 'null';
end $$;
