-- Looking: what can be seen of the queue.

local MANY_ROWS = 2000 -- that one look reads of one place, at most
local TOGETHER = 200

function acts.locate(act)
  local task_id = act[2]
  local state = call('HGET', key('state'), task_id)
  if not state then
    local value = call('HGET', key('steps'), task_id)
    if not value then
      return 'unknown'
    elseif string.byte(value) ~= ENDED then
      return 'pending'
    end
    return value == '=dead' and 'dead' or 'done'
  end
  local first = string.byte(state)
  if first == ENDED then
    return 'done'
  elseif first == DEAD then
    return 'dead'
  end
  return law.place(law.parse(state))
end

-- Whether a task is over for the queue, and its result on its way.
function acts.is_ending(act)
  local task_id = act[2]
  return call('HEXISTS', key('telling'), task_id) == 1 or call('HEXISTS', key('early'), task_id) == 1
end

function acts.ended(act)
  local found = {}
  for _, task_id in ipairs(act[2]) do
    local where = acts.locate({nil, task_id})
    if where == 'done' or where == 'dead' then
      found[#found + 1] = task_id
    end
  end
  return found
end

-- For results.lua: whether the queue has given a task to a later attempt (34).
function queue.overtaken(task_id, attempt)
  law.marks()
  local state = call('HGET', key('state'), task_id)
  local entry = state and law.parse(state)
  return entry and entry.state == 'leased' and entry.attempt > attempt or false
end

function acts.statistics()
  law.save_counts()
  local m, places = moment.marks, {}
  for _, place in ipairs(PLACES) do
    local counts = call('HGETALL', key('count:' .. place))
    for i = 1, #counts, 2 do
      places[#places + 1] = {counts[i], place, tonumber(counts[i + 1])}
    end
  end
  places[#places + 1] = {null, 'leased', m.leased} -- counted for all queues together
  return {
    places = places, queues = call('ZRANGE', key('queues'), 0, -1), done = m.done, dead = call('ZCARD', key('dead_order')), refused = m.refused,
    paused = call('SMEMBERS', key('paused')),
  }
end

-- Dead letters, the oldest first.
function acts.dead(act)
  local ids = act[2] and {act[2]} or call('ZRANGE', key('dead_order'), 0, -1)
  local letters = {}
  for _, task_id in ipairs(ids) do
    local packed = call('HGET', key('dead'), task_id)
    if packed then
      local letter = cmsgpack.unpack(packed)
      letter[2] = letter[2] and put(letter[2]) or null
      for _, field in ipairs({3, 4, 9, 10}) do
        letter[field] = letter[field] or null
      end
      letters[#letters + 1] = letter
    end
  end
  return letters
end

-- The first rows of all that there are; some of them may be of tasks of which only the result is to come.
local function first_rows(limit)
  local found = {}
  for _, segment in ipairs(call('ZRANGE', key('segments'), 0, -1)) do
    local rows = call('HKEYS', key('tasks:' .. segment))
    table.sort(rows)
    for _, row in ipairs(rows) do
      found[#found + 1] = row
    end
    if #found >= limit + moment.marks.early then
      break
    end
  end
  return found
end

-- The first rows of one queue: of what waits outside the list of a lane, some only if there are many.
local function first_rows_of(queue_name, limit)
  local found = {}
  local function add(rows)
    for _, row in ipairs(rows) do
      found[#found + 1] = row
    end
  end
  for _, priority in ipairs(law.lanes_of(queue_name)) do
    add(call('LRANGE', law.fresh(queue_name, priority), 0, limit + VOIDS))
    add(call('ZRANGE', law.back(queue_name, priority), 0, MANY_ROWS))
  end
  add(call('SRANDMEMBER', key('away:' .. queue_name), MANY_ROWS))
  for _, session in ipairs(call('HKEYS', key('sessions'))) do
    add(call('SMEMBERS', key('held:' .. session)))
  end
  table.sort(found)
  return found
end

-- Tasks that have not ended, the first accepted first.
function acts.queued(act)
  local wanted, limit = act[2], act[3]
  local rows = wanted and first_rows_of(wanted, limit) or first_rows(limit)
  local found = {}
  for from = 1, #rows, TOGETHER do
    local some = {unpack(rows, from, math.min(from + TOGETHER - 1, #rows))}
    for i, packed in ipairs(law.rows(some)) do
      local _, blob, said, its_queue
      if packed then
        _, blob, said, _, its_queue = cmsgpack.unpack(packed)
      end
      local entry = packed and #found < limit and (not wanted or its_queue == wanted)
        and law.entry_of_row(some[i], packed)
      if entry then
        found[#found + 1] = {
          entry.task_id, blob and put(blob) or null, said or null, entry.alias or null, entry.name,
          its_queue, law.place(entry), entry.attempt,
        }
      end
      if #found >= limit then
        return found
      end
    end
  end
  return found
end

local function jobs_of(session)
  local jobs = {}
  for _, entry in ipairs(law.leased_to(session)) do
    jobs[#jobs + 1] = {entry.task_id, entry.name, entry.queue, entry.attempt, entry.since}
  end
  return jobs
end

-- The sessions of those that live, the oldest first, and what each holds.
function acts.workers()
  local found = {}
  local flat = call('HGETALL', key('sessions'))
  for i = 1, #flat, 2 do
    local session, record = flat[i], cmsgpack.unpack(flat[i + 1])
    local choice, ends = record.choice or null, call('ZSCORE', key('until'), session)
    local beat = ends and math.min(moment.now, ends - moment.lease) or record.beat
    if choice ~= null and not choice[2] then
      choice[2] = null
    end
    if not law.is_dead(record.peer) then
      found[#found + 1] = {
        record.worker, tonumber(session), record.pid, record.host, choice, record.since, beat,
        session, record.order,
      }
    end
  end
  table.sort(found, function(one, other) return one[9] < other[9] end)
  for _, each in ipairs(found) do
    each[8], each[9] = jobs_of(each[8]), nil
  end
  return found
end

-- --- what a broker answers from without asking ---

local function is_claimable()
  local m = moment.marks
  if m.ready <= 0 then
    return false
  elseif m.paused == 0 then
    return true
  end
  law.save_counts()
  for _, name in ipairs(call('HKEYS', key('count:ready'))) do
    if call('SISMEMBER', key('paused'), name) == 0 then
      return true
    end
  end
  return false
end

local function first_score(name)
  local head = call('ZRANGE', key(name), 0, 0, 'WITHSCORES')
  return head[2] and tonumber(head[2]) or math.huge
end

local function next_due()
  local m, due = moment.marks, math.huge
  if m.scheduled > 0 then
    due = first_score('scheduled')
  end
  if m.expiring > 0 then
    due = math.min(due, first_score('expiring'))
  end
  if m.paced > 0 then
    due = math.min(due, law.next_wake() or math.huge)
  end
  return due < math.huge and due or null
end

-- For these sessions, by number.
local function notices_for(sessions)
  local notices = {}
  local flat = moment.marks.notices > 0 and call('HGETALL', key('notices')) or {}
  for i = 1, #flat, 2 do
    local fence = cmsgpack.unpack(flat[i + 1])
    if sessions[fence[1]] then
      notices[#notices + 1] = {fence[1], flat[i], fence[2], fence[3]}
    end
  end
  return notices
end

local function parked_names()
  local names, seen = {}, {}
  for _, field in ipairs(moment.marks.parked > 0 and call('HKEYS', key('parked')) or {}) do
    local name = cmsgpack.unpack(field)[1]
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  return names
end

-- For entry.lua: how things are now.
function queue.view()
  local m = law.marks()
  local good, mine = {}, {}
  for i, session in ipairs(call('SMEMBERS', key('sessions_of:' .. moment.peer))) do
    good[i] = tonumber(session)
    mine[good[i]] = true
  end
  return {
    claimable = is_claimable(),
    leased = m.leased > 0 or law.left_behind()[1] ~= nil,
    over = moment.over or false,
    due = next_due(), good = good, notices = notices_for(mine), parked = parked_names(),
    outbox = law.told_after(moment.seen, moment.room),
  }
end
