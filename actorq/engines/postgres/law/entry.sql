-- The entry: a request's acts, in one step and exactly once.

create or replace function actorq.push(topic text, peer text) returns void
language sql as $$
    -- the same notification twice in one transaction is sent once
    select pg_notify('actorq:' || topic, jsonb_build_array(peer, null)::text)
$$;

create or replace function actorq.push_ids(topic text, peer text, ids text[]) returns void
language plpgsql as $$
declare
    payload text := jsonb_build_array(peer, to_jsonb(ids))::text;
    half int := cardinality(ids) / 2;
begin
    if octet_length(payload) < 7900 then
        perform pg_notify('actorq:' || topic, payload);
    elsif half = 0 then
        perform pg_notify('actorq:' || topic, jsonb_build_array(peer, null)::text);
    else
        perform actorq.push_ids(topic, peer, ids[1:half]);
        perform actorq.push_ids(topic, peer, ids[half + 1:]);
    end if;
end
$$;

-- A body of those that came together with a request: place is where it begins << 31, and its length.
create or replace function actorq.cut(given bytea, place bigint) returns bytea
language sql immutable as $$
    select substring(given from (place >> 31)::int + 1 for (place & 2147483647)::int)
$$;

-- What is said again: the answers as they were kept, with bodies that were not.
create or replace function actorq.said_before(
    m actorq.moment, acts jsonb, answers jsonb, inout taken bytea[], out again text
) language plpgsql as $$
declare
    answer jsonb;
    r record;
begin
    again := '[';
    taken := coalesce(taken, '{}');
    for i in 0 .. jsonb_array_length(answers) - 1 loop
        answer := answers -> i;
        if acts -> i ->> 0 = 'claim' then
            r := actorq.claim_again(m, answer, taken);
            taken := r.taken;
            answer := r.again;
        end if;
        again := again || case when i > 0 then ', ' else '' end || answer::text;
    end loop;
    again := again || ']';
end
$$;

-- All acts of a request: their answers as JSON (text: jsonb would be copied piece by piece at each step),
-- and, where that is less, what of it is kept for being asked again; *kept*: of the bodies in them.
create or replace function actorq.do_acts(
    m actorq.moment, acts jsonb, given bytea, keeps boolean,
    out taken bytea[], out answers text, out kept_answers text, out kept bytea[]
) language plpgsql as $$
declare
    act jsonb;
    kind text;
    answer text;
    note text;
    before int;
    i int := 0;
    last int;
    n int := jsonb_array_length(acts);
    r record;
begin
    taken := '{}';
    while i < n loop
        act := acts -> i;
        kind := act ->> 0;
        before := cardinality(taken);
        last := i;
        note := null;
        if kind in ('store', 'settle') then  -- those that follow one another are done as one
            while acts -> (last + 1) ->> 0 = kind loop
                last := last + 1;
            end loop;
            if kind = 'store' then
                r := actorq.store_all(m, acts, i, last, given, taken);
            else
                r := actorq.settle_all(m, acts, i, last, given, taken);
            end if;
            taken := r.taken;
            answer := r.answers;
        elsif kind = 'claim' then
            r := actorq.act_claim(m, act, taken);
            taken := r.taken;
            answer := r.answer;
            note := r.note;
        else
            case kind
                when 'open' then r := actorq.act_open(m, act, given, taken);
                when 'renew' then r := actorq.act_renew(m, act, given, taken);
                when 'lapse' then r := actorq.act_lapse(m, act, given, taken);
                when 'move' then r := actorq.act_move(m, act, given, taken);
                when 'sign_off' then r := actorq.act_sign_off(m, act, given, taken);
                when 'release' then r := actorq.act_release(m, act, given, taken);
                when 'revoke' then r := actorq.act_revoke(m, act, given, taken);
                when 'purge' then r := actorq.act_purge(m, act, given, taken);
                when 'replay' then r := actorq.act_replay(m, act, given, taken);
                when 'purge_dead' then r := actorq.act_purge_dead(m, act, given, taken);
                when 'pause' then r := actorq.act_pause(m, act, given, taken);
                when 'promote' then r := actorq.act_promote(m, act, given, taken);
                when 'published' then r := actorq.act_published(m, act, given, taken);
                when 'bury' then r := actorq.act_bury(m, act, given, taken);
                when 'locate' then r := actorq.act_locate(m, act, given, taken);
                when 'is_ending' then r := actorq.act_is_ending(m, act, given, taken);
                when 'ending' then r := actorq.act_ending(m, act, given, taken);
                when 'ended' then r := actorq.act_ended(m, act, given, taken);
                when 'statistics' then r := actorq.act_statistics(m, act, given, taken);
                when 'dead' then r := actorq.act_dead(m, act, given, taken);
                when 'queued' then r := actorq.act_queued(m, act, given, taken);
                when 'workers' then r := actorq.act_workers(m, act, given, taken);
                when 'get_results' then r := actorq.act_get_results(m, act, taken);
                when 'get_progress' then r := actorq.act_get_progress(m, act, taken);
                else
                    select taken, case kind
                        when 'set_results' then actorq.store_results(m, act -> 1, given, false)
                        when 'delete_results' then actorq.act_delete_results(m, act)
                        when 'give_up' then actorq.act_give_up(m, act)
                        when 'set_progress' then actorq.act_set_progress(m, act, given)
                        when 'forgotten' then actorq.act_forgotten()
                        when 'schedules' then actorq.act_schedules()
                        when 'schedule' then actorq.act_schedule(act)
                        when 'swap' then actorq.act_swap(m, act)
                        when 'clear' then actorq.act_clear(act)
                        when 'changes' then actorq.act_changes(act)
                        when 'name' then actorq.act_name(m, act)
                        else actorq.unknown_act(act)
                    end as answer into r;
            end case;
            taken := r.taken;
            answer := coalesce(r.answer::text, 'null');
        end if;
        answers := concat_ws(', ', answers, answer);
        if keeps then
            kept_answers := concat_ws(', ', kept_answers, coalesce(note, answer));
            if cardinality(taken) > before then
                if note is not null then  -- looked up again if it must be
                    kept := kept || array_fill(null::bytea, array[cardinality(taken) - before]);
                else
                    kept := kept || taken[before + 1:];
                end if;
            end if;
        end if;
        i := last + 1;
    end loop;
    answers := '[' || coalesce(answers, '') || ']';
    kept_answers := '[' || coalesce(kept_answers, '') || ']';
end
$$;

create or replace function actorq.unknown_act(act jsonb) returns jsonb
language plpgsql as $$
begin
    raise exception using errcode = 'AQ004', message = format('there is no act %s', act ->> 0);
end
$$;

create or replace function actorq.perform(request jsonb, given bytea, out reply json, out taken bytea[])
language plpgsql as $$
declare
    -- each expression is made ready anew in each transaction, and each statement costs more than that:
    -- so there are few of both here
    m actorq.moment := row(
        request ->> 'peer', request ->> 'lane',
        coalesce((request ->> 'now')::double precision,
                 extract(epoch from clock_timestamp())::double precision),
        coalesce((request ->> 'lease')::double precision, 30),
        coalesce((request ->> 'alone')::boolean, false),
        coalesce((request ->> 'remember')::int, 10000),
        coalesce((request ->> 'keep_dead')::int, 10000),
        coalesce((request ->> 'early')::boolean, false),
        (request ->> 'ttl')::double precision)::actorq.moment;
    acts jsonb := request -> 'acts';
    called bigint := coalesce((request ->> 'number')::bigint, 0);
    is_virtual boolean := request ->> 'now' is not null;  -- time is the caller's
    former record;
    generation text;
    admitting boolean;
    stood boolean := false;
    done boolean := false;
    r record;
    said text;
    kept_said text;
    kept bytea[];
    shown jsonb;
    nothing text;
begin
    if (request ->> 'law')::int is distinct from 1 then
        raise exception using errcode = 'AQ003', message = 'the law here is of another version';
    end if;
    if called > 0 then  -- the same call may still be on its way on a connection that was cut: wait for it
        select c.number, c.seen, c.answers, c.blobs into former
            from actorq.calls c where c.peer = m.peer and c.lane = m.lane for update;
        if not found then
            perform pg_advisory_xact_lock(hashtextextended(m.peer || ' ' || m.lane, 0));
            select c.number, c.seen, c.answers, c.blobs into former
                from actorq.calls c where c.peer = m.peer and c.lane = m.lane;
        end if;
    else
        select c.number, c.seen, null as answers, null as blobs into former
            from actorq.calls c where c.peer = m.peer and c.lane = m.lane;
    end if;
    select exists (select from actorq.inbox) and m.lane = 'broker',
           (select meta.value from actorq.meta where meta.key = 'generation')
        into admitting, generation;
    if generation is null then
        insert into actorq.meta values ('generation', replace(gen_random_uuid()::text, '-', ''))
            on conflict (key) do nothing;
        select meta.value into generation from actorq.meta where meta.key = 'generation';
    end if;
    if m.lane = 'broker' then
        if not is_virtual and coalesce(m.now - former.seen, 'infinity') > m.lease / 3 + 1 then
            stood := coalesce(
                m.now - (select max(c.seen) from actorq.calls c where c.lane = 'broker')
                    > m.lease / 3 + 1,
                false);
        end if;
        m.alone := m.alone or admitting or stood or called > 0 and actorq.needs_all(acts);
        if m.alone then
            nothing := pg_advisory_xact_lock(1633907569, hashtext('actorq.'));
        elsif called = 0 then
            nothing := pg_advisory_xact_lock_shared(1633907569, hashtext('actorq.'));
        end if;
        if m.alone and not is_virtual then
            m.now := extract(epoch from clock_timestamp())::double precision;
        end if;
    elsif m.lane = 'schedules' and called > 0 then
        -- announcements are numbered in the order in which they are seen
        perform pg_advisory_xact_lock(1633907570, hashtext('actorq.'));
    end if;

    if stood then
        perform actorq.stood_still(m);
    end if;
    if admitting then
        perform actorq.admit_inbox(m);
    end if;

    if called > 0 and former.number >= called then
        if former.number > called then
            raise exception using errcode = 'AQ002',
                message = format('call %s of this peer came after its call %s', called, former.number);
        end if;
        r := actorq.said_before(m, acts, former.answers, former.blobs);
        taken := r.taken;
        said := r.again;
    else
        if m.lane = 'broker' and called > 0 and not m.alone then
            begin  -- what is not for the shared mode is undone, with its lock, and done alone
                nothing := pg_advisory_xact_lock_shared(1633907569, hashtext('actorq.'));
                if not is_virtual then
                    m.now := extract(epoch from clock_timestamp())::double precision;
                end if;
                r := actorq.do_acts(m, acts, given, true);
                done := true;
            exception when sqlstate 'AQ001' or unique_violation then
                m.alone := true;
            end;
            if not done then
                nothing := pg_advisory_xact_lock(1633907569, hashtext('actorq.'));
                if not is_virtual then
                    m.now := extract(epoch from clock_timestamp())::double precision;
                end if;
            end if;
        end if;
        if not done then
            r := actorq.do_acts(m, acts, given, called > 0);
        end if;
        taken := r.taken;
        said := r.answers;
        kept_said := r.kept_answers;
        kept := r.kept;
        if request ->> 'limit' is not null then
            perform actorq.evict_results(m, (request ->> 'limit')::bigint);
        end if;
    end if;

    if (request ->> 'view')::boolean then
        r := actorq.view(m, (request ->> 'seen')::bigint, (request ->> 'room')::int, called = 0, taken);
        taken := r.taken;
        shown := r.shown;
    end if;

    if called > coalesce(former.number, 0) then
        update actorq.calls c
            set number = called, seen = m.now, answers = kept_said::jsonb, blobs = kept
            where c.peer = m.peer and c.lane = m.lane;
        if not found then
            insert into actorq.calls values (m.peer, m.lane, called, m.now, kept_said::jsonb, kept);
            perform actorq.forget_callers(m);
        end if;
    elsif m.lane = 'broker' and m.peer <> '' and coalesce(former.seen < m.now - m.lease / 10, true) then
        insert into actorq.calls values (m.peer, m.lane, 0, m.now, null, null)
            on conflict (peer, lane) do update set seen = excluded.seen;
    end if;

    reply := json_build_object('answers', said::json, 'now', m.now, 'generation', generation,
                                'previous', former.number, 'view', shown);
end
$$;

-- What peers said that have been silent for long is not asked for again.
create or replace function actorq.forget_callers(m actorq.moment) returns void
language sql as $$
    delete from actorq.calls c
    where not exists (
        select from actorq.calls o
        where o.peer = c.peer and o.seen >= m.now - greatest(3600, 10 * m.lease))
$$;

-- Tasks that were enqueued in users' transactions, which have been committed: whether a key is free is
-- found out here, and who waits for a task that does not become one is told.
create or replace function actorq.admit_inbox(m actorq.moment) returns void
language plpgsql as $$
declare
    plain jsonb;
    bounded jsonb;
    bodies bytea;
    s jsonb;
    r record;
    e actorq.tasks;
    ending jsonb;
begin
    -- as many as one step can do: who takes too long is ended, and would try the same again and again
    with heads as (
        select i.seq, sum(coalesce(octet_length(i.body), 0)) over (order by i.seq)
            - coalesce(octet_length(i.body), 0) as place
        from (select x.seq, x.body from actorq.inbox x order by x.seq limit 500) i
    ), first as (
        delete from actorq.inbox i where i.seq = any(array(
            select h.seq from heads h where h.place < 16777216))
        returning i.seq, i.sent, i.body
    ), placed as (
        select f.seq, f.body, f.sent ->> 9 is null as plain, case when f.body is null then f.sent
            else jsonb_set(f.sent, '{1}', to_jsonb(h.place << 31 | octet_length(f.body))) end as sent
        from first f join heads h on h.seq = f.seq
    )
    select coalesce(string_agg(p.body, '' order by p.seq), ''),
        coalesce(jsonb_agg(p.sent order by p.seq) filter (where p.plain), '[]'),
        coalesce(jsonb_agg(p.sent order by p.seq) filter (where not p.plain), '[]')
    into bodies, plain, bounded from placed p;
    perform actorq.name_queues(m, array(
        select distinct v ->> 4 from jsonb_array_elements(plain || bounded) v order by 1));
    if plain <> '[]' then
        r := actorq.accept(m, plain, true, bodies, '{}');
    end if;
    for s in select v from jsonb_array_elements(bounded) v loop
        r := actorq.accept(m, jsonb_build_array(s), true, bodies, '{}');
        ending := case
            when r.answer ? 'refused' then jsonb_build_array('refused', r.answer -> 'refused')
            when r.answer -> 'ids' ->> 0 <> s ->> 0 then
                jsonb_build_array('replaced', jsonb_build_array(r.answer -> 'ids' -> 0))
        end;
        continue when ending is null or exists (select from actorq.tasks t where t.task_id = s ->> 0);
        perform actorq.take_in(m, jsonb_build_array(s), bodies);
        select t.* into e from actorq.tasks t where t.task_id = s ->> 0;
        if ending ->> 0 = 'refused' then
            perform actorq.report(m, e, ending);
            perform actorq.bury(m, e, '', null, ending);
        else
            perform actorq.end_unreported(m, e, 'cancelled', ending);
        end if;
    end loop;
end
$$;

-- The same, where the connection's settings are not ours: behind a pooler.
create or replace function actorq.perform_pooled(
    request jsonb, given bytea, out reply json, out taken bytea[]
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
    r record;
begin
    r := actorq.perform(request, given);
    reply := r.reply;
    taken := r.taken;
end
$$;
