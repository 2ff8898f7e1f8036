-- The outbox: ends that no worker reports, until their results are stored.
--
-- Each belongs to the peer in whose call it came to be; if that is silent, another takes it over.

local TOLD = {number = 1, task_id = 2, ending = 4, alias = 7, blob = 8, said = 9}

local function add(peer, told)
  call('ZADD', key('outbox:' .. peer), told[TOLD.number], cmsgpack.pack(told))
  call('HINCRBY', key('outboxes'), peer, 1)
  local m = moment.marks
  m.outbox = m.outbox + 1
end

local function next_told()
  local m = moment.marks
  m.told = law.after_all(m.told)
  return m.told
end

-- One more.  *entry*: the task, or the one whose chain broke.
function law.tell(entry, task_id, attempts, its_end, its_error, is_step)
  local data = entry.data
  add(moment.peer, {
    next_told(), task_id, attempts, its_end, its_error or false, is_step or false,
    entry.alias or false, data[BLOB] or false, data[SAID] or false,
  })
  call('HINCRBY', key('telling'), task_id, 1)
end

local function or_null(value)
  return value or null
end

-- What this one is to store, the oldest first.
function law.told_after(seen, room)
  local rows = {}
  if room <= 0 or moment.marks.outbox == 0 then
    return rows
  end
  local where = key('outbox:' .. moment.peer)
  local from = string.format('(%.17g', seen)
  for i, packed in ipairs(call('ZRANGEBYSCORE', where, from, '+inf', 'LIMIT', 0, room)) do
    local told = cmsgpack.unpack(packed)
    local its_end, blob = told[TOLD.ending], told[TOLD.blob]
    if its_end[1] == 'broken' then
      its_end[2][4], its_end[2][5] = or_null(its_end[2][4]), or_null(its_end[2][5])
    end
    told[TOLD.blob] = blob and put(blob) or null
    told[5], told[TOLD.alias], told[TOLD.said] =
      or_null(told[5]), or_null(told[TOLD.alias]), or_null(told[TOLD.said])
    rows[i] = told
  end
  return rows
end

-- Whose ends nobody stores any more.
function law.left_behind()
  local left = {}
  if moment.marks.outbox == 0 then
    return left
  end
  for _, peer in ipairs(call('HKEYS', key('outboxes'))) do
    if law.is_dead(peer) then
      left[#left + 1] = peer
    end
  end
  return left
end

-- What that peer was to store is ours now; with new numbers, for who reads on from one.
function law.take_over(peer)
  local where = key('outbox:' .. peer)
  for _, packed in ipairs(call('ZRANGE', where, 0, -1)) do
    local told = cmsgpack.unpack(packed)
    told[TOLD.number] = next_told()
    add(moment.peer, told)
    moment.marks.outbox = moment.marks.outbox - 1
  end
  call('DEL', where)
  call('HDEL', key('outboxes'), peer)
end

-- These are in the result backend.
function acts.published(act)
  local where = key('outbox:' .. moment.peer)
  for _, number in ipairs(act[2]) do
    local packed = call('ZRANGEBYSCORE', where, number, number)[1]
    if packed then
      local told = cmsgpack.unpack(packed)
      local m = moment.marks
      m.outbox = m.outbox - call('ZREM', where, packed)
      law.one_less(key('outboxes'), moment.peer)
      law.one_less(key('telling'), told[TOLD.task_id])
    end
  end
end

-- For entry.lua: whether something of a peer is still to be looked after.
function queue.owes(peer)
  call = redis.call
  return call('HEXISTS', key('outboxes'), peer) == 1 or call('EXISTS', key('sessions_of:' .. peer)) == 1
end
