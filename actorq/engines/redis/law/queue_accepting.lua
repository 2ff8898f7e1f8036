-- Accepting: what was sent becomes tasks, all of a batch or none of it.

-- Keep them: all must be unknown.  What it says of each is what is kept.
local function insert(sent)
  local m, now = moment.marks, moment.now
  local states, rows, lanes, by_segment = {}, {}, {}, {}
  local n, first = 0, m.number
  local forgets = law.some_are_broken()
  local lane, its_queue, its_priority, places
  local segment, in_segment
  for i = 1, #sent do
    local each = sent[i]
    local number = first + i
    local row = law.text(number)
    local eta, expires, bounds = each[ETA], each[EXPIRES], each[BOUNDS]
    local waits = eta and eta > now
    if bounds then
      bounds[UNIQUE] = bounds[UNIQUE] or false
    end
    if each[PRIORITY] ~= 0 then
      each[PRIORITY] = law.priority(each[PRIORITY])
    end
    local at = math.floor(number / SEGMENT)
    if at ~= segment then
      segment, in_segment = at, {}
      by_segment[#by_segment + 1] = {at, in_segment}
    end
    in_segment[#in_segment + 1] = row
    in_segment[#in_segment + 1] = cmsgpack.pack(
      each[TASK_ID], each[BLOB] or false, each[SAID] or false, each[NAME], each[QUEUE], each[PRIORITY],
      false, expires or false, each[DELIVERIES], bounds or false, each[ALIAS] or false
    )
    local state = row
    if waits then
      state = law.pack_state({
        row = row, state = 'scheduled', number = number, due = eta,
        attempt = 0, failures = 0, requeues = 0,
      })
      call('ZADD', key('scheduled'), eta, number .. ':' .. row)
      call('SADD', key('away:' .. each[QUEUE]), row)
      law.count('scheduled', each[QUEUE], 1)
      law.lanes_of(each[QUEUE])
    else
      if its_queue ~= each[QUEUE] or its_priority ~= each[PRIORITY] then
        its_queue, its_priority = each[QUEUE], each[PRIORITY]
        lane = law.priority(its_priority) .. ':' .. its_queue
        places = lanes[lane]
        if not places then
          places = {law.priority(its_priority), its_queue, {}}
          lanes[lane] = places
        end
        places = places[3]
      end
      places[#places + 1] = row
    end
    law.may_expire(expires, row)
    n = n + 1
    states[2 * n - 1] = each[TASK_ID]
    states[2 * n] = state
    if forgets or (bounds and bounds[CHAIN][1]) then
      law.begin_chain(each[TASK_ID], bounds and bounds[CHAIN])
    end
    if waits and #law.lanes_of(each[QUEUE]) == 0 then
      law.open_lane(each[QUEUE], law.priority(each[PRIORITY])) -- the queue is known from now on
    end
  end
  m.number = first + n
  in_pieces('HSET', key('state'), states)
  for _, some in ipairs(by_segment) do
    in_pieces('HSET', key('tasks:' .. some[1]), some[2])
    if m.segment ~= some[1] then
      m.segment = some[1]
      call('ZADD', key('segments'), some[1], some[1])
    end
  end
  for _, some in pairs(lanes) do
    local n_places = #some[3]
    local there = in_pieces('RPUSH', law.fresh(some[2], some[1]), some[3])
    if there == n_places or n_places > CHUNK then
      law.open_lane(some[2], some[1]) -- its list was empty: it may not be known
    end
    law.count('ready', some[2], #some[3])
  end
  touch('tasks')
end

-- The states of those that are known, by id.
local function known_ids(sent)
  local ids, known, some = {}, {}, false
  for i = 1, #sent do
    ids[i] = sent[i][TASK_ID]
  end
  for from = 1, #ids, CHUNK do
    local to = math.min(from + CHUNK - 1, #ids)
    for i, state in ipairs(call('HMGET', key('state'), unpack(ids, from, to))) do
      if state then
        known[ids[from + i - 1]] = state
        some = true
      end
    end
  end
  return known, some
end

local function is_live(state)
  local first = string.byte(state)
  return first ~= ENDED and first ~= DEAD
end

local function unique_of(bounds)
  return bounds and bounds[UNIQUE] or nil
end

-- Live tasks of the same ids whose bytes are others: who asks compares the calls.
local function differing(sent, known)
  local found = {}
  for _, each in ipairs(sent) do
    local state = known[each[TASK_ID]]
    if state and is_live(state) then
      local entry = law.entry(each[TASK_ID], state)
      local data = entry and entry.data
      local unique = entry and unique_of(entry.bounds)
      if
        entry
        and (data[BLOB] or false) ~= (each[BLOB] or false)
        and not (unique and unique[ON_CONFLICT] == 'debounce')
      then
        found[#found + 1] = {
          each[TASK_ID], data[BLOB] and put(data[BLOB]) or null, data[SAID] or null,
          entry.alias or null, entry.name,
        }
      end
    end
  end
  return found
end

-- Refuse the batch before anything of it is stored.
local function refusal(sent, known)
  local taken, seen = {}, {}
  for _, each in ipairs(sent) do
    local task_id, unique = each[TASK_ID], unique_of(each[BOUNDS])
    local again = seen[task_id] or known[task_id]
    seen[task_id] = true
    if unique and not again and call('HEXISTS', key('steps'), task_id) == 0 then
      local holder = taken[unique[KEY]] or law.holder(unique[KEY])
      if not holder then
        taken[unique[KEY]] = task_id
      elseif unique[ON_CONFLICT] == 'reject' then
        return {refused = {holder, unique[KEY]}}
      end
    end
  end
  return nil
end

-- A later call with the same key takes this one's place.
local function displace(entry, successor)
  if entry.state == 'leased' then
    law.ask_to_cancel(entry)
  else
    law.call_off(entry, {'replaced', {successor}})
  end
end

-- Take the key for it; the id of another task that stands for it, if one does.
local function resolve(each, unique)
  local holder = law.holder(unique[KEY])
  if not holder then
    law.take_key(unique, each[TASK_ID])
    return nil
  end
  local entry = law.entry(holder)
  if unique[ON_CONFLICT] == 'replace' then
    if entry then
      displace(entry, each[TASK_ID])
    end
    law.take_key(unique, each[TASK_ID])
    return nil
  end
  if unique[ON_CONFLICT] == 'debounce' and entry then
    if entry.state == 'leased' then -- taken by a call that was not debounced itself
      law.take_key(unique, each[TASK_ID])
      return nil
    end
    local kept = {}
    for _, step in ipairs(each[BOUNDS][CHAIN]) do
      kept[step] = true
    end
    law.take_out(entry)
    law.break_off(entry, 'cancelled', nil, nil, kept)
    local alias = each[ALIAS] or each[TASK_ID]
    each[ALIAS] = alias ~= holder and alias or false
    each[TASK_ID] = holder
    insert({each})
  end
  return holder
end

-- Accept all, or none.
local function accept(sent, same)
  local known, some = known_ids(sent)
  if some and not same then
    local found = differing(sent, known)
    if #found > 0 then
      return {compare = found}
    end
  end
  local unique = false
  for _, each in ipairs(sent) do
    if unique_of(each[BOUNDS]) then
      unique = true
    end
  end
  if not unique then
    local fresh = {}
    for _, each in ipairs(sent) do
      if not known[each[TASK_ID]] then
        known[each[TASK_ID]] = true
        fresh[#fresh + 1] = each
      end
    end
    if #fresh > 0 then
      insert(fresh)
    end
    return null
  end
  local refused = refusal(sent, known)
  if refused then
    return refused
  end
  local stand_ins, ids = nil, {}
  for i, each in ipairs(sent) do
    local task_id = each[TASK_ID]
    ids[i] = task_id
    if not known[task_id] and not (stand_ins and stand_ins[task_id]) then
      known[task_id] = true
      local its_unique = unique_of(each[BOUNDS])
      local stand_in = its_unique and resolve(each, its_unique)
      if stand_in then
        stand_ins = stand_ins or {}
        stand_ins[task_id] = stand_in
      else
        insert({each})
      end
    end
  end
  if not stand_ins then
    return null
  end
  for i, task_id in ipairs(ids) do
    ids[i] = stand_ins[task_id] or task_id
  end
  return {ids = ids}
end

function acts.store(act)
  return accept(act[2], act[3])
end

-- The acts from *from* on that store something: their answers, and which act comes next.  Plain ones
-- are stored together.
function queue.store_all(todo, from)
  local to, all, ids, plain = from, {}, {}, true
  while todo[to] and todo[to][1] == 'store' do
    for _, each in ipairs(todo[to][2]) do
      if each[BOUNDS] or ids[each[TASK_ID]] then
        plain = false
      end
      ids[each[TASK_ID]] = true
      all[#all + 1] = each
    end
    to = to + 1
  end
  local answers = {}
  if plain and to > from + 1 then
    local _, some = known_ids(all)
    if not some then
      insert(all)
      for i = from, to - 1 do
        answers[i - from + 1] = null
      end
      return answers, to
    end
  end
  for i = from, to - 1 do
    answers[i - from + 1] = accept(todo[i][2], todo[i][3])
  end
  return answers, to
end

-- What comes after a task that has succeeded; a settlement cannot fail on it.
function law.follow(sent)
  for _, each in ipairs(sent) do
    local answer = accept({each}, true)
    if type(answer) == 'table' and answer.refused then
      insert({each})
      local entry = law.entry(each[TASK_ID])
      local its_end = {'refused', answer.refused}
      law.take_out(entry)
      law.tell(entry, entry.task_id, entry.attempt, its_end)
      law.bury(entry, '', its_end)
    end
  end
end

-- Each dead letter goes, and its message is enqueued; None where there is none (any more).
function acts.replay(act)
  local pairs_of, there, known, gone = act[2], {}, {}, {}
  for i, pair in ipairs(pairs_of) do
    there[i] = call('HEXISTS', key('dead'), pair[1]) == 1
    if there[i] then
      known[#known + 1] = pair[2]
      gone[#gone + 1] = pair[1]
    end
  end
  local own = {}
  for i, each in ipairs(known) do
    own[i] = each[TASK_ID]
  end
  local answer = #known > 0 and accept(known, act[3]) or null
  if answer ~= null then
    if not answer.ids then
      return answer
    end
    own = answer.ids
  end
  law.forget_dead(gone)
  local ids, n = {}, 0
  for i = 1, #pairs_of do
    if there[i] then
      n = n + 1
      ids[i] = own[n]
    else
      ids[i] = null
    end
  end
  return {ids = ids}
end
