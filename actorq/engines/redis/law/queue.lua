-- The queue: where everything is kept, and how one task is read and moved.
--
-- The law is that of `actorq.engines.sqlite.queue`; a file here does what the one of the same name does
-- there.  A step that does what most do, with tasks that have no terms, costs a few calls for the whole
-- batch; the others some calls for each.
--
-- Keys, each behind "{namespace}:"
--
-- meta                      hash; of it "marks": numbers that only grow, and counts, packed
-- state                     hash by task id, of all that is known: see "Its state" below
-- tasks:SEGMENT             hash by row: the message and what is known of it, packed one after another; for
--                           4096 rows each, so that tasks are found in the order they were accepted in
-- segments                  sorted set of the segments
-- lanes                     hash by queue: its priorities, the highest first
-- queues                    sorted set: these, and perhaps others, by the time when they were used
-- fresh:PRIORITY:QUEUE      list: rows of tasks that are ready for the first time
-- back:PRIORITY:QUEUE       sorted set: rows of other ready tasks, by age
-- count:PLACE               hash by queue: how many tasks are ready (to be claimed), scheduled, parked,
--                           limited or paced
-- scheduled                 sorted set: "AGE:ROW" by the time
-- expiring                  sorted set: rows of tasks that wait, by the time from which they expire
-- away:QUEUE                set: rows of tasks that wait elsewhere than in the lanes
-- parked                    hash by packed [name, queue]: how many are parked
-- parked:N:NAME:QUEUE       sorted set: their rows, by age (N: the length of the name)
-- sessions                  hash by session: packed
-- until                     sorted set: sessions with jobs, by the time when their leases are over
-- unused                    the same of those without
-- held:SESSION              set: rows of the tasks that are leased to it
-- sessions_of:PEER          set of sessions
-- present                   hash of peers that are, or were, connected to hear what is pushed
-- suspects                  hash by peer: packed times at which it was first and last seen to be neither
--                           heard nor connected
-- worker                    hash by worker: its session
-- early                     hash by task id: packed [session, attempt, row], if its result is to come
-- early:SESSION             set of task ids
-- notices                   hash by task id: packed [session, attempt, token] of what is to be cancelled
-- outbox:PEER               sorted set: packed ends that no worker reports, by number
-- outboxes                  hash by peer: how many those are
-- telling                   hash by task id: how many of those are about it
-- ended                     list of the ids that have ended, the oldest first
-- dead                      hash by task id: packed dead letters
-- dead_order                sorted set: their ids, the oldest first
-- steps                     hash by task id: ">" and the task that a step waits for; "=" and how that
--                           ended, if the step will never be accepted
-- broken                    sorted set: ids of the latter, the oldest first
-- permits                   hash by key of a concurrency limit: how many run
-- paces                     hash by key of a rate: packed
-- starts:KEY                list of the latest starts at a rate
-- alarms                    sorted set: rates by the time when they have room again
-- idle                      sorted set: rates by the time when none of their starts matters any more
-- gate:GATE                 hash: "wQUEUE" and "oQUEUE", how many wait there and have an offer of it
-- crowd:N:GATE:QUEUE        sorted set: who waits there, in order (N: the length of the gate)
-- keys                      hash by unique key: packed [task id, until]
-- timed_keys                sorted set: those with a time, by that
-- paused                    set of queues
--
-- A row is the number of a task, given when it is accepted: 13 digits, so that they sort as text, too.
-- An age is such a number, too: that of the row, or a later one.
--
-- Its state
--
-- ROW                       ready for the first time: in the list of its lane
-- L TOKEN SESSION ROW SINCE leased for the first time, has no terms, nobody has cancelled it
-- =ENDING                   it has ended, and is remembered
-- !                         a dead letter
-- anything else             packed, one after another: see `law.pack_state`

local law = {} -- what the files of the queue share

local FIRST_NUMBER = 1000000000000
local SEGMENT = 4096
-- Fields of a row, which is what was sent.
local TASK_ID, BLOB, SAID, NAME, QUEUE, PRIORITY = 1, 2, 3, 4, 5, 6
local ETA, EXPIRES, DELIVERIES, BOUNDS, ALIAS = 7, 8, 9, 10, 11
-- Fields of a call's bounds, and of its unique key.
local UNIQUE, PERMITS, PACES, CHAIN = 1, 2, 3, 4
local KEY, ON_CONFLICT, UNTIL, SECONDS = 1, 2, 3, 4
-- First bytes of a state: digits, "L", "=", "!".
local DIGIT, DIGITS_END, LEASED, ENDED, DEAD = 48, 57, 76, 61, 33

-- Where a task may wait.
local PLACES = {'scheduled', 'ready', 'parked', 'limited', 'paced'}

local call -- `redis.call`, which is not there while a library is loaded

-- --- marks and counts ---

-- Numbers that were given out, and counts: read once in a call, and written at its end.  What is counted
-- here need not be looked for: a call of Redis costs more than all that is done with what it says.
function law.marks()
  call = redis.call
  local m = moment.marks
  if not m then
    local packed = moment.packed_marks
    local number, token, told, opened, buried, broken, leased, early, done, refused, segment, ready,
      scheduled, parked, limited, paced, back, paused, expiring, notices, outbox, steps, lane, watched
    if packed then
      number, token, told, opened, buried, broken, leased, early, done, refused, segment, ready,
        scheduled, parked, limited, paced, back, paused, expiring, notices, outbox, steps, lane,
        watched =
        cmsgpack.unpack(packed)
    end
    m = {
      number = number or FIRST_NUMBER, -- the last row, or age
      token = token or 0, -- of the last delivery
      told = told or 0, -- number of the last end that was told
      opened = opened or 0, -- sessions
      buried = buried or 0, -- dead letters
      broken = broken or 0, -- steps that will never be accepted
      leased = leased or 0, -- tasks that are
      early = early or 0, -- of which only the result is to come
      done = done or 0, -- tasks that have ended
      refused = refused or 0, -- stale settlements
      segment = segment or 0, -- the last one that was opened
      ready = ready or 0, -- tasks that may be claimed
      scheduled = scheduled or 0,
      parked = parked or 0,
      limited = limited or 0,
      paced = paced or 0,
      back = back or 0, -- places in all sorted sets of the lanes
      paused = paused or 0, -- queues
      expiring = expiring or 0, -- tasks that wait, and may expire
      notices = notices or 0,
      outbox = outbox or 0, -- ends, of all peers
      steps = steps or 0, -- that will never be accepted, and are remembered
      lane = lane or '', -- the latest that was looked for, and is known
      watched = watched or 0, -- when somebody last looked for peers that have died
    }
    moment.marks = m
    moment.counts = {}
    moment.lanes = {}
    moment.offers = 0
  end
  return m
end

function queue.begin()
  law.marks()
end

-- For entry.lua: all acts are done.  Back go the marks, to be kept.
function queue.finish()
  law.save_counts()
  if moment.lane == 'broker' then
    moment.over = law.some_are_over()
  end
  local m = moment.marks
  return cmsgpack.pack(
    m.number, m.token, m.told, m.opened, m.buried, m.broken, m.leased, m.early, m.done, m.refused,
    m.segment, m.ready, m.scheduled, m.parked, m.limited, m.paced, m.back, m.paused, m.expiring,
    m.notices, m.outbox, m.steps, m.lane, m.watched
  )
end

-- A number of 13 digits as text.  The last three are looked up: to format a number costs more than all
-- else that is done with a row.
local ENDS = {}
local latest, latest_text = -1, ''

function law.text(number)
  local thousands = math.floor(number / 1000)
  if thousands ~= latest then
    latest, latest_text = thousands, '' .. thousands
  end
  local n = number - thousands * 1000
  local rest = ENDS[n]
  if not rest then
    rest = (n < 10 and '00' or n < 100 and '0' or '') .. n
    ENDS[n] = rest
  end
  return latest_text .. rest
end

function law.next_number()
  local m = moment.marks
  m.number = m.number + 1
  return m.number
end

-- A number that only grows, though the server may have lost its latest writes: it is a time, too.
function law.after_all(last)
  local ms = math.floor(moment.now * 1000)
  if ms > last and ms < 90000000000000 then
    return ms
  end
  return last + 1
end

-- So many more tasks of *queue_name* are in *place*.
function law.count(place, queue_name, by)
  local counts = moment.counts[place]
  if not counts then
    counts = {}
    moment.counts[place] = counts
  end
  counts[queue_name] = (counts[queue_name] or 0) + by
  local m = moment.marks
  m[place] = m[place] + by
end

function law.save_counts()
  for place, counts in pairs(moment.counts) do
    local where = key('count:' .. place)
    for queue_name, by in pairs(counts) do
      if by ~= 0 and call('HINCRBY', where, queue_name, by) <= 0 then
        call('HDEL', where, queue_name)
      end
    end
    moment.counts[place] = nil
  end
end

-- One less in a hash of counts; whether that was the last.
function law.one_less(where, field)
  if call('HINCRBY', where, field, -1) <= 0 then
    call('HDEL', where, field)
    return true
  end
  return false
end

-- --- rows ---

function law.segment(row)
  return key('tasks:' .. math.floor(row / SEGMENT))
end

-- The packed rows, in the same order; false where there is none.
function law.rows(rows)
  local found, n = {}, #rows
  local from = 1
  while from <= n do
    local segment = math.floor(rows[from] / SEGMENT)
    local to = from
    while to < n and to - from < 1000 and math.floor(rows[to + 1] / SEGMENT) == segment do
      to = to + 1
    end
    local some = call('HMGET', key('tasks:' .. segment), unpack(rows, from, to))
    if from == 1 and to == n then
      return some
    end
    for i = 1, to - from + 1 do
      found[from + i - 1] = some[i]
    end
    from = to + 1
  end
  return found
end

-- These tasks are kept no more.
function law.drop_rows(rows)
  local by_segment = {}
  for _, row in ipairs(rows) do
    local segment = math.floor(row / SEGMENT)
    local some = by_segment[segment]
    if not some then
      some = {}
      by_segment[segment] = some
    end
    some[#some + 1] = row
  end
  local m = moment.marks
  for segment, some in pairs(by_segment) do
    local where = key('tasks:' .. segment)
    in_pieces('HDEL', where, some)
    if segment ~= m.segment and call('EXISTS', where) == 0 then
      call('ZREM', key('segments'), segment)
    end
  end
end

-- Whether a row is one of a task.
function law.has_row(row)
  return call('HEXISTS', law.segment(row), row) == 1
end

-- Bodies again, for a call that is repeated; empty where a task is gone.
function queue.again(rows)
  call = redis.call
  local bodies = {}
  for i, packed in ipairs(law.rows(rows)) do
    local _, blob
    if packed then
      _, blob = cmsgpack.unpack(packed)
    end
    bodies[i] = blob or ''
  end
  return bodies
end

-- --- entries: a task that has not ended, with all that is known of it ---

-- What its state says, but for the row; nil if that is not a live one.
function law.parse(state)
  local first = string.byte(state)
  if first == ENDED or first == DEAD then
    return nil
  end
  if first >= DIGIT and first <= DIGITS_END then
    return {
      row = state, state = 'ready', number = tonumber(state), attempt = 0, failures = 0, requeues = 0,
    }
  end
  if first == LEASED then
    local token, session, row, since = string.match(state, '^L(%d+) (%d+) (%d+) (.+)$')
    return {
      row = row, state = 'leased', number = tonumber(row), attempt = 1, failures = 0, requeues = 0,
      session = tonumber(session), token = tonumber(token), since = tonumber(since),
    }
  end
  local row, place, held, number, due, attempt, failures, requeues, session, token, since, bound,
    cancelled, severed, gate, offer = cmsgpack.unpack(state)
  return {
    row = row, state = place, held = held or nil, number = number, due = due or nil,
    attempt = attempt, failures = failures, requeues = requeues, session = session or nil,
    token = token or nil, since = since or nil, bound = bound, cancelled = cancelled,
    severed = severed, gate = gate or nil, offer = offer or nil,
  }
end

-- With what the row says.
function law.fill(entry, data)
  entry.data = data
  entry.task_id, entry.name, entry.queue = data[TASK_ID], data[NAME], data[QUEUE]
  entry.priority = law.priority(data[PRIORITY])
  entry.deliveries = data[DELIVERIES]
  entry.expires = data[EXPIRES] or nil
  entry.bounds = data[BOUNDS] or nil
  entry.alias = data[ALIAS] or nil
  return entry
end

-- The entry of a task, or nil.
function law.entry(task_id, state)
  state = state or call('HGET', key('state'), task_id)
  local entry = state and law.parse(state)
  local packed = entry and call('HGET', law.segment(entry.row), entry.row)
  if not packed then
    return nil
  end
  return law.fill(entry, {cmsgpack.unpack(packed)})
end

-- The entry of a row, or nil.
function law.entry_of_row(row, packed)
  packed = packed or call('HGET', law.segment(row), row)
  if not packed then
    return nil
  end
  local data = {cmsgpack.unpack(packed)}
  local state = call('HGET', key('state'), data[TASK_ID])
  local entry = state and law.parse(state)
  if not entry or entry.row ~= row then
    return nil -- only its result is to come
  end
  return law.fill(entry, data)
end

function law.pack_state(entry)
  return cmsgpack.pack(
    entry.row,
    entry.state, -- scheduled, ready, leased
    entry.held or false, -- why it may not be claimed: parked, limited, paced
    entry.number, -- its age among those in its state
    entry.due or false, -- of a scheduled one
    entry.attempt, -- deliveries that count so far
    entry.failures, -- of these, attempts that failed
    entry.requeues, -- of these, attempts that put it back themselves
    entry.session or false, -- who has it
    entry.token or false, -- of the present delivery
    entry.since or false, -- when it was leased
    entry.bounds ~= nil, -- whether it has terms
    entry.cancelled or false, -- somebody asked for it while it ran
    entry.severed or false, -- nothing is to come after it
    entry.gate or false, -- where it waits for its turn
    entry.offer or false -- whose room it was offered, and has not used yet
  )
end

function law.save(entry)
  call('HSET', key('state'), entry.task_id, law.pack_state(entry))
end

function law.place(entry)
  return entry.held or entry.state
end

function law.has_expired(entry)
  return entry.expires ~= nil and entry.expires <= moment.now
end

-- --- lanes ---

-- A priority, as text: it may be too long for a number.
function law.priority(priority)
  if priority == 0 then
    return '0'
  elseif type(priority) == 'number' then
    return string.format('%.0f', priority)
  end
  return priority
end

local OPPOSITE = {}
for digit = 0, 9 do
  OPPOSITE['' .. digit] = '' .. 9 - digit
end

-- Text that sorts as priorities do: the highest first.
function law.code(priority)
  if string.sub(priority, 1, 1) == '-' then
    return 'B' .. string.rep('0', 20 - #priority) .. string.sub(priority, 2)
  end
  return 'A' .. string.rep('9', 19 - #priority) .. (string.gsub(priority, '%d', OPPOSITE))
end

-- The priorities of a queue, the highest first.
function law.lanes_of(queue_name)
  local lanes = moment.lanes[queue_name]
  if not lanes then
    lanes = {}
    local text = call('HGET', key('lanes'), queue_name)
    for priority in string.gmatch(text or '', '%S+') do
      lanes[#lanes + 1] = priority
    end
    moment.lanes[queue_name] = lanes
  end
  return lanes
end

function law.save_lanes(queue_name, lanes)
  moment.lanes[queue_name] = lanes
  call('HSET', key('lanes'), queue_name, table.concat(lanes, ' '))
end

local MANY_PRIORITIES = 16 -- of one queue, before empty ones are dropped

-- Let there be a lane for this priority.
function law.open_lane(queue_name, priority)
  local m, lane = moment.marks, priority .. ':' .. queue_name
  if m.lane == lane then
    return
  end
  m.lane = lane -- if others are dropped below, this one is not
  local lanes = law.lanes_of(queue_name)
  for _, each in ipairs(lanes) do
    if each == priority then
      return
    end
  end
  if #lanes == 0 then
    call('ZADD', key('queues'), 'NX', moment.now, queue_name)
  end
  local kept = {priority}
  for _, each in ipairs(lanes) do
    if
      #lanes < MANY_PRIORITIES
      or call('EXISTS', law.fresh(queue_name, each), law.back(queue_name, each)) > 0
    then
      kept[#kept + 1] = each
    end
  end
  table.sort(kept, function(one, other) return law.code(one) < law.code(other) end)
  law.save_lanes(queue_name, kept)
end

local function is_empty(queue_name)
  for _, place in ipairs(PLACES) do
    if call('HEXISTS', key('count:' .. place), queue_name) == 1 then
      return false
    end
  end
  for _, priority in ipairs(law.lanes_of(queue_name)) do -- there may be places of tasks that are gone
    if call('EXISTS', law.fresh(queue_name, priority), law.back(queue_name, priority)) > 0 then
      return false
    end
  end
  return true
end

local QUEUES_KEPT, QUEUES_KEPT_FOR = 1000, 2592000 -- names; seconds
local SWEPT_QUEUES = 20 -- that one step looks at, besides two for each that it is told of

-- These are used.  Others are forgotten when that was long ago, or there are too many, and nothing waits
-- in them.
function acts.name(act)
  local where, now = key('queues'), moment.now
  for _, name in ipairs(act[2]) do
    call('ZADD', where, now, name)
  end
  local most = SWEPT_QUEUES + 2 * #act[2]
  local over = call('ZRANGEBYSCORE', where, '-inf', now - QUEUES_KEPT_FOR, 'LIMIT', 0, most)
  local surplus = math.min(call('ZCARD', where) - QUEUES_KEPT, most)
  if surplus > #over then
    over = call('ZRANGE', where, 0, surplus - 1)
  end
  if #over == 0 then
    return
  end
  law.save_counts()
  for _, name in ipairs(over) do
    if is_empty(name) then
      call('ZREM', where, name)
      call('HDEL', key('lanes'), name)
      moment.lanes[name], moment.marks.lane = nil, '' -- it is not known any more
    else
      call('ZADD', where, now, name)
    end
  end
end

function law.fresh(queue_name, priority)
  return key('fresh:' .. priority .. ':' .. queue_name)
end

function law.back(queue_name, priority)
  return key('back:' .. priority .. ':' .. queue_name)
end

function law.parked_key(name, queue_name)
  return key('parked:' .. #name .. ':' .. name .. ':' .. queue_name)
end

-- --- moving one ---

-- From a time on, or never (nil), this one expires.
function law.may_expire(expires, row)
  if expires then
    local m = moment.marks
    m.expiring = m.expiring + call('ZADD', key('expiring'), expires, row)
  end
end

-- It does not wait any more.
function law.cannot_expire(row)
  local m = moment.marks
  m.expiring = m.expiring - call('ZREM', key('expiring'), row)
end

-- Into a lane, by its age.
function law.put_back(entry)
  entry.state, entry.held = 'ready', nil
  law.open_lane(entry.queue, entry.priority)
  local m = moment.marks
  m.back = m.back + call('ZADD', law.back(entry.queue, entry.priority), entry.number, entry.row)
  law.count('ready', entry.queue, 1)
end

-- Out of the lease, into *state*: the entry must be nowhere.
function law.put(entry, state, held, due)
  entry.state, entry.held, entry.due = state, held, due
  entry.session, entry.token, entry.since = nil, nil, nil
  law.may_expire(entry.expires, entry.row)
  if state == 'ready' and not held then
    law.put_back(entry)
  else
    call('SADD', key('away:' .. entry.queue), entry.row)
    law.count(held or state, entry.queue, 1)
    if state == 'scheduled' then
      call('ZADD', key('scheduled'), due, entry.number .. ':' .. entry.row)
    else -- parked
      call('HINCRBY', key('parked'), cmsgpack.pack({entry.name, entry.queue}), 1)
      call('ZADD', law.parked_key(entry.name, entry.queue), entry.number, entry.row)
    end
  end
  law.save(entry)
end

-- Out of wherever it is, to nowhere yet.
function law.leave(entry)
  local state, held = entry.state, entry.held
  entry.state, entry.held = 'nowhere', nil
  if state == 'leased' then
    local m = moment.marks
    m.leased = m.leased - 1
    call('SREM', key('held:' .. entry.session), entry.row)
    if entry.cancelled then
      m.notices = m.notices - call('HDEL', key('notices'), entry.task_id)
      touch('ends') -- somebody waits for it, perhaps elsewhere
    end
    return
  end
  if entry.expires then
    law.cannot_expire(entry.row)
  end
  if state == 'nowhere' then
    return
  end
  law.count(held or state, entry.queue, -1)
  if state == 'ready' and not held then
    local m = moment.marks
    local gone = m.back > 0 and call('ZREM', law.back(entry.queue, entry.priority), entry.row) or 0
    m.back = m.back - gone
    entry.void = gone == 0 -- its place is in the list
    return
  end
  call('SREM', key('away:' .. entry.queue), entry.row)
  if state == 'scheduled' then
    call('ZREM', key('scheduled'), entry.number .. ':' .. entry.row)
  elseif held == 'parked' then
    law.one_less(key('parked'), cmsgpack.pack({entry.name, entry.queue}))
    call('ZREM', law.parked_key(entry.name, entry.queue), entry.row)
  else
    law.leave_crowd(entry)
  end
end

local VOIDS = 20 -- that one step takes out at the head of a lane: more than come

-- Tasks that are gone leave their places in the list behind: those at its head go now.
function law.trim(entry)
  local fresh = law.fresh(entry.queue, entry.priority)
  for _ = 1, VOIDS do
    local head = call('LINDEX', fresh, 0)
    if not head or law.has_row(head) then
      return
    end
    call('LPOP', fresh)
  end
end

-- Out of wherever it is, and not kept any more.
function law.take_out(entry)
  local was_ready = entry.state ~= 'leased'
  law.leave(entry)
  law.drop_rows({entry.row})
  if entry.void then
    law.trim(entry)
  end
  if was_ready and entry.offer then
    law.withdraw(entry)
  end
end
