-- Sessions: which workers hold a lease, until when, and what becomes of their jobs when they end.

function law.session(session)
  local packed = call('HGET', key('sessions'), session)
  return packed and cmsgpack.unpack(packed)
end

local function has_jobs(session)
  return call('EXISTS', key('held:' .. session)) == 1
end

-- Its lease begins anew.
function law.renew(session, record)
  record.beat = moment.now
  call('HSET', key('sessions'), session, cmsgpack.pack(record))
  local busy = has_jobs(session)
  call('ZADD', key(busy and 'until' or 'unused'), moment.now + moment.lease, session)
  call('ZREM', key(busy and 'unused' or 'until'), session)
end

-- Those whose lease is over, and have jobs.  Nothing depends on the others' leases.
local function lapsed(limit)
  local found = {}
  for _, session in ipairs(call('ZRANGEBYSCORE', key('until'), '-inf', moment.now, unpack(limit))) do
    if has_jobs(session) then
      found[#found + 1] = session
    else
      call('ZADD', key('unused'), call('ZSCORE', key('until'), session), session)
      call('ZREM', key('until'), session)
    end
  end
  return found
end

-- --- peers ---

local SILENT = 3 -- seconds without a call after which a peer may have died
local UNSEEN = 2 -- seconds without a look at a suspect: then it is suspected anew
local WATCHED = 20 -- silent peers that are looked at together
local KNOWN = 200 -- others
local EVERY = 0.9 -- seconds: so often somebody looks

local function last_call(peer)
  local seen = call('ZSCORE', key('peers'), peer)
  return seen and tonumber(seen)
end

-- How often a peer is connected to hear what is pushed; nil if we may not ask.
local function connections(peer)
  local found = redis.pcall('PUBSUB', 'NUMSUB', key('peer:' .. peer))
  return found[2]
end

-- Note who is there, and who may have died.
--
-- A process that was killed has called nobody for a while, and the connection by which it heard what is
-- pushed is gone; one whose event loop stands still keeps that.  Once is not enough: after a restart of
-- the server all have lost their connections.
local function watch()
  local peer, now = moment.peer, moment.now
  for _, each in ipairs(call(
    'ZRANGEBYSCORE', key('peers'), now - SILENT, '+inf', 'LIMIT', 0, KNOWN
  )) do
    if
      call('HEXISTS', key('present'), each) == 0
      and call('EXISTS', key('sessions_of:' .. each)) == 1
      and (connections(each) or 0) > 0
    then
      call('HSET', key('present'), each, 1)
    end
  end
  local silent = call(
    'ZRANGEBYSCORE', key('peers'), now - moment.lease, now - SILENT, 'LIMIT', 0, WATCHED
  )
  for _, other in ipairs(silent) do
    if
      other ~= peer
      and call('HEXISTS', key('present'), other) == 1
      and call('EXISTS', key('sessions_of:' .. other)) == 1
    then
      if connections(other) ~= 0 then
        call('HDEL', key('suspects'), other)
      else
        local packed = call('HGET', key('suspects'), other)
        local first, last = now, now
        if packed then
          first, last = cmsgpack.unpack(packed)
          if now - last > UNSEEN then
            first = now
          end
        end
        call('HSET', key('suspects'), other, cmsgpack.pack(first, now))
      end
    end
  end
end

local function has_died(peer)
  local packed = call('HGET', key('suspects'), peer)
  if not packed then
    return false
  end
  local first, last = cmsgpack.unpack(packed)
  local seen = last_call(peer)
  return moment.now - first >= SILENT and moment.now - last <= UNSEEN
    and (not seen or seen <= moment.now - SILENT)
end

-- Whether a peer has left, has been silent for longer than a lease, or was killed.
function law.is_dead(peer)
  if peer == moment.peer then
    return false
  end
  local seen = last_call(peer)
  return not seen or seen <= moment.now - moment.lease or has_died(peer)
end

-- Those that were killed, as far as somebody has seen it.
local function killed()
  local found = {}
  for _, peer in ipairs(call('HKEYS', key('suspects'))) do
    if peer ~= moment.peer and has_died(peer) then
      found[#found + 1] = peer
    end
  end
  return found
end

local AT_LEAST = 2 -- seconds: who connects again waits between its tries

-- Calls have come again after nobody could make any: all have some time to say that they live.
local function is_forgiven()
  local time = math.max(moment.lease / 2, AT_LEAST)
  return moment.stood and moment.now <= moment.stood + time
end

-- For the view: whether there is something for "lapse" to do at once.  Looked for now and then.
function law.some_are_over()
  local m = moment.marks
  if math.abs(moment.now - m.watched) < EVERY then
    return false
  end
  m.watched = moment.now
  watch()
  return killed()[1] ~= nil or (not is_forgiven() and lapsed({'LIMIT', 0, WATCHED})[1] ~= nil)
end

-- --- their ends ---

local function take_away(entry)
  local deliveries = entry.attempt - entry.requeues
  law.let_go(entry)
  if entry.cancelled then
    law.end_cancelled(entry)
  elseif deliveries >= entry.deliveries then
    local lost = {'lost', {deliveries}}
    law.drop_rows({entry.row})
    law.tell(entry, entry.task_id, entry.attempt, lost)
    law.bury(entry, '', lost)
  else
    law.make_ready(entry)
  end
end

-- The entries that are leased to a session, in the order in which they were.
function law.leased_to(session)
  local entries = {}
  for _, row in ipairs(call('SMEMBERS', key('held:' .. session))) do
    local entry = law.entry_of_row(row)
    if entry then
      entries[#entries + 1] = entry
    end
  end
  table.sort(entries, function(one, other) return one.token < other.token end)
  return entries
end

-- Its jobs are available to others at once.
local function end_session(session)
  local record = law.session(session)
  call('HDEL', key('sessions'), session)
  call('ZREM', key('until'), session)
  call('ZREM', key('unused'), session)
  if record then
    call('SREM', key('sessions_of:' .. record.peer), session)
    if call('EXISTS', key('sessions_of:' .. record.peer)) == 0 then
      call('HDEL', key('present'), record.peer)
      call('HDEL', key('suspects'), record.peer)
    end
    if call('HGET', key('worker'), record.worker) == '' .. session then
      call('HDEL', key('worker'), record.worker)
    end
  end
  for _, entry in ipairs(law.leased_to(session)) do
    take_away(entry)
  end
  call('DEL', key('held:' .. session))
  law.give_up_early(session)
  touch('ends')
  touch('tasks')
end

-- A new one; the older one of this worker ends.
function acts.open(act)
  local worker, choice, pid, host = act[2], act[3], act[4], act[5]
  local m = moment.marks
  local older = call('HGET', key('worker'), worker)
  if older then
    end_session(older)
  end
  m.opened = m.opened + 1
  local time = call('TIME')
  local seed = table.concat({moment.peer, moment.number, m.opened, worker, time[1], time[2]}, ' ')
  -- 43 bits: few enough that all its digits are written, wherever it goes
  local number = tonumber(string.sub(redis.sha1hex(seed), 1, 10), 16) * 8 + m.opened % 8
  local session = '' .. number
  local record = {
    worker = worker, peer = moment.peer, pid = pid, host = host, choice = choice or false,
    since = moment.now, beat = moment.now, order = m.opened, pass = 0, passes = {},
  }
  law.renew(session, record)
  call('SADD', key('sessions_of:' .. moment.peer), session)
  call('HSET', key('worker'), worker, session)
  return number
end

function acts.renew(act)
  local record = law.session(act[2])
  if not record then
    return false
  end
  law.renew(act[2], record)
  return true
end

-- End the sessions whose lease is over while jobs depended on it, and those of peers that are gone.
--
-- The caller's are forgiven first for being *late*: nobody there could renew them (35).  If calls have
-- come again after nobody could make any, all sessions have some time to say that they live.
function acts.lapse(act)
  local late = act[2]
  if late > 0 then
    for _, session in ipairs(call('SMEMBERS', key('sessions_of:' .. moment.peer))) do
      call('ZADD', key('until'), 'XX', 'INCR', late, session)
      call('ZADD', key('unused'), 'XX', 'INCR', late, session)
    end
  end
  local now = moment.now
  if not is_forgiven() then
    for _, session in ipairs(lapsed({})) do
      end_session(session)
    end
    for _, peer in ipairs(killed()) do
      for _, session in ipairs(call('SMEMBERS', key('sessions_of:' .. peer))) do
        end_session(session)
      end
      law.take_over(peer)
    end
  end
  -- of these only those go whose peers are dead; they are looked at again when a lease has gone by
  local unused = call('ZRANGEBYSCORE', key('unused'), '-inf', now, 'LIMIT', 0, WATCHED)
  for _, session in ipairs(unused) do
    local record = law.session(session)
    if not record or law.is_dead(record.peer) then
      end_session(session)
    else
      call('ZADD', key('unused'), now + moment.lease, session)
    end
  end
  for _, peer in ipairs(law.left_behind()) do
    law.take_over(peer)
  end
end

-- What was that peer's is the caller's: it is the same broker, in another life.
function acts.move(act)
  local former = act[2]
  local where = key('sessions_of:' .. former)
  for _, session in ipairs(call('SMEMBERS', where)) do
    local record = law.session(session)
    if record then
      record.peer = moment.peer
      call('HSET', key('sessions'), session, cmsgpack.pack(record))
      call('SADD', key('sessions_of:' .. moment.peer), session)
    end
  end
  call('DEL', where)
  law.take_over(former)
end

-- The caller closes in order.
function acts.sign_off()
  for _, session in ipairs(call('SMEMBERS', key('sessions_of:' .. moment.peer))) do
    if not has_jobs(session) then
      end_session(session)
    end
  end
  call('ZREM', key('peers'), moment.peer) -- what is left is anybody's
end

local RELEASED = 1000 -- tasks that one step releases of a queue, at most

-- Somebody who serves these queues, or all, knows this task: what was parked for it may be claimed.
-- What is left is parked still, so that the next claim goes on.
function law.release(name, queues)
  local served
  if queues then
    served = {}
    for _, each in ipairs(queues) do
      served[each] = true
    end
  end
  for _, field in ipairs(call('HKEYS', key('parked'))) do
    local parked = cmsgpack.unpack(field)
    local queue_name = parked[2]
    if parked[1] == name and (not served or served[queue_name]) then
      local where = law.parked_key(name, queue_name)
      for _, row in ipairs(call('ZRANGE', where, 0, RELEASED - 1)) do
        local entry = law.entry_of_row(row)
        if entry then
          law.leave(entry)
          law.put(entry, 'ready')
        end
      end
      touch('tasks')
    end
  end
end

function acts.release(act)
  law.release(act[2])
end
