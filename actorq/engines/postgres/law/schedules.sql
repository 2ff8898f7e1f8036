-- Schedules.

create or replace function actorq.act_schedules() returns jsonb
language sql as $$
    select coalesce(jsonb_agg(jsonb_build_array(s.id, s.state) order by s.id), '[]') from actorq.schedules s
$$;

create or replace function actorq.act_schedule(act jsonb) returns jsonb
language sql as $$
    select to_jsonb(s.state) from actorq.schedules s where s.id = act ->> 1
$$;

-- Put a version and a state in place of a version; whether that one was there.
create or replace function actorq.act_swap(m actorq.moment, act jsonb) returns jsonb
language plpgsql as $$
declare
    put jsonb := nullif(act -> 3, 'null');
    done boolean;
    number bigint;
begin
    if put is null and act ->> 2 is null then
        done := not exists (select from actorq.schedules s where s.id = act ->> 1);
    elsif put is null then
        delete from actorq.schedules s where s.id = act ->> 1 and s.version = act ->> 2;
        done := found;
    elsif act ->> 2 is null then
        insert into actorq.schedules values (act ->> 1, put ->> 0, put ->> 1) on conflict (id) do nothing;
        done := found;
    else
        update actorq.schedules s set version = put ->> 0, state = put ->> 1
            where s.id = act ->> 1 and s.version = act ->> 2;
        done := found;
    end if;
    if done and (act ->> 4)::boolean then
        insert into actorq.schedule_changes
            select coalesce(max(c.seq), 0) + 1, act ->> 1 from actorq.schedule_changes c
            returning seq into number;
        delete from actorq.schedule_changes c where c.seq <= number - 1000;
        perform actorq.push('schedules', m.peer);
    end if;
    return to_jsonb(done);
end
$$;

-- Forget what stands there, if it is this.
create or replace function actorq.act_clear(act jsonb) returns jsonb
language sql as $$
    with gone as (delete from actorq.schedules s where s.id = act ->> 1 and s.state = act ->> 2 returning 1)
    select to_jsonb(exists (select from gone))
$$;

create or replace function actorq.act_changes(act jsonb) returns jsonb
language plpgsql as $$
declare
    newest bigint := (select coalesce(max(c.seq), 0) from actorq.schedule_changes c);
    seen bigint := (act ->> 1)::bigint;
begin
    if seen is null then
        return jsonb_build_array(newest, '[]'::jsonb);
    elsif newest - seen > 1000 then
        return jsonb_build_array(newest, null);
    end if;
    return jsonb_build_array(newest, coalesce(
        (select jsonb_agg(distinct c.id) from actorq.schedule_changes c where c.seq > seen), '[]'));
end
$$;
