-- Checking: whether all that is kept agrees with itself.  For tests, and for who suspects the data.

local MANY_TASKS = 100000 -- that one look reads, at most
local MANY_REMARKS = 20

-- What does not agree, as text; nothing of it is mended.
function acts.check()
  law.save_counts()
  local remarks = {}
  local function say(...)
    if #remarks < MANY_REMARKS then
      remarks[#remarks + 1] = table.concat({...}, ' ')
    end
  end

  -- every row is in the place that its state says
  local counts, leased, places, early, seen = {}, 0, {}, {}, 0
  local function in_place(entry)
    local where, row = law.place(entry), entry.row
    if where == 'leased' then
      return call('SISMEMBER', key('held:' .. entry.session), row) == 1
        and (entry.cancelled or false) == (call('HEXISTS', key('notices'), entry.task_id) == 1)
    elseif entry.expires and not call('ZSCORE', key('expiring'), row) then
      return false
    elseif where == 'ready' then
      local lane = entry.priority .. ':' .. entry.queue
      if not places[lane] then
        places[lane] = {}
        for _, each in ipairs(call('LRANGE', law.fresh(entry.queue, entry.priority), 0, -1)) do
          places[lane][each] = true
        end
        for _, each in ipairs(call('ZRANGE', law.back(entry.queue, entry.priority), 0, -1)) do
          if places[lane][each] then
            say('row', each, 'is in its lane twice')
          end
          places[lane][each] = true
        end
      end
      return places[lane][row]
    elseif call('SISMEMBER', key('away:' .. entry.queue), row) == 0 then
      return false
    elseif where == 'scheduled' then
      return call('ZSCORE', key('scheduled'), entry.number .. ':' .. row)
    elseif where == 'parked' then
      return call('ZSCORE', law.parked_key(entry.name, entry.queue), row)
    end
    return law.is_in_crowd(entry)
  end

  for i, packed in pairs(call('HGETALL', key('early'))) do
    if i % 2 == 0 then
      early[cmsgpack.unpack(packed)[3]] = true
    end
  end
  local offered, running = {}, {}
  for _, segment in ipairs(call('ZRANGE', key('segments'), 0, -1)) do
    for _, row in ipairs(call('HKEYS', key('tasks:' .. segment))) do
      seen = seen + 1
      if seen > MANY_TASKS then
        return remarks
      end
      local entry = law.entry_of_row(row)
      if not entry then
        if not early[row] then
          say('row', row, 'is of no task')
        end
      elseif not in_place(entry) then
        say('task', entry.task_id, 'is not where it is', law.place(entry))
      else
        local where = law.place(entry)
        if where == 'leased' then
          leased = leased + 1
          for name in pairs(law.permits_of(entry)) do
            running[name] = (running[name] or 0) + 1
          end
        else
          local name = where .. ':' .. entry.queue
          counts[name] = (counts[name] or 0) + 1
        end
        if entry.offer then
          local name = entry.offer .. ':' .. entry.queue
          offered[name] = (offered[name] or 0) + 1
          if where ~= 'ready' then
            say('task', entry.task_id, 'is', where, 'and has an offer')
          end
        end
      end
    end
  end

  -- and is counted there
  local function compare(what, found, kept)
    for name, n in pairs(found) do
      if kept[name] ~= n then
        say(n, what, name, 'counted as', kept[name] or 0)
      end
    end
    for name, n in pairs(kept) do
      if not found[name] then
        say('no', what, name, 'counted as', n)
      end
    end
  end
  local function counted(name, before)
    local flat, kept = call('HGETALL', key(name)), {}
    for i = 1, #flat, 2 do
      kept[before .. flat[i]] = tonumber(flat[i + 1])
    end
    return kept
  end
  for _, place in ipairs(PLACES) do
    local some = {}
    for name, n in pairs(counts) do
      if string.sub(name, 1, #place + 1) == place .. ':' then
        some[name] = n
      end
    end
    compare('tasks', some, counted('count:' .. place, place .. ':'))
  end
  if leased ~= moment.marks.leased then
    say(leased, 'tasks are leased, counted as', moment.marks.leased)
  end
  compare('running', running, counted('permits', ''))
  for name, n in pairs(offered) do
    local gate, queue_name = string.match(name, '^(.*):(.-)$')
    local kept = tonumber(call('HGET', key('gate:' .. gate), 'o' .. queue_name) or 0)
    if kept ~= n then
      say(n, 'have an offer of', name, 'counted as', kept)
    end
  end
  local n_early = call('HLEN', key('early'))
  if n_early ~= moment.marks.early then
    say(n_early, 'results are to come, counted as', moment.marks.early)
  end

  -- every session with jobs has a lease
  for _, session in ipairs(call('HKEYS', key('sessions'))) do
    local busy = call('EXISTS', key('held:' .. session)) == 1
    local has_lease = call('ZSCORE', key('until'), session)
    if not has_lease and (busy or not call('ZSCORE', key('unused'), session)) then
      say('session', session, 'has no lease')
    end
  end

  -- what is counted in the marks
  local m = moment.marks
  for _, place in ipairs(PLACES) do
    local n = 0
    for _, some in pairs(counted('count:' .. place, '')) do
      n = n + some
    end
    if n ~= m[place] then
      say(n, 'tasks are', place, 'and counted as', m[place])
    end
  end
  local back = 0
  for _, queue_name in ipairs(call('HKEYS', key('lanes'))) do
    for _, priority in ipairs(law.lanes_of(queue_name)) do
      back = back + call('ZCARD', law.back(queue_name, priority))
    end
  end
  if back ~= m.back then
    say(back, 'places are in the sorted lanes, counted as', m.back)
  end
  local outbox = 0
  for _, peer in ipairs(call('HKEYS', key('outboxes'))) do
    outbox = outbox + call('ZCARD', key('outbox:' .. peer))
  end
  for name, n in pairs({
    expiring = call('ZCARD', key('expiring')), notices = call('HLEN', key('notices')),
    steps = call('ZCARD', key('broken')), outbox = outbox, paused = call('SCARD', key('paused')),
  }) do
    if n ~= m[name] then
      say('there are', n, name, 'counted as', m[name])
    end
  end
  return remarks
end
