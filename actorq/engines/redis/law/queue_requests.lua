-- What is asked of the queue: cancelling, purging, pausing; and what time does.

local SLICE = 500 -- tasks that one step ends or begins, at most: others want their turn, too

local function ending_of(task_id)
  local state = call('HGET', key('state'), task_id)
  if state and string.byte(state) == DEAD then
    return 'dead'
  elseif state and string.byte(state) == ENDED then
    return string.sub(state, 2)
  end
  return law.how_broken(task_id)
end

function acts.ending(act)
  return ending_of(act[2]) or null
end

-- A later step: its chain ends where it is.  Who it waits for.
local function sever(step)
  local awaited = law.awaited(step)
  local entry = awaited and law.entry(awaited)
  if entry then
    entry.severed = true
    law.save(entry)
  end
  return entry
end

-- Cancel a task: at once if it waits; through its worker if it runs.
function acts.revoke(act)
  local task_id = act[2]
  local entry = law.entry(task_id) or sever(task_id)
  if not entry then
    return ending_of(task_id) == 'cancelled' -- asked again, perhaps
  elseif entry.state == 'leased' then
    law.ask_to_cancel(entry)
    return null
  end
  law.call_off(entry, {'waiting', {entry.failures}})
  return true
end

-- Cancel some of what waits in a queue: the first accepted first.
function acts.purge(act)
  local queue_name, limit = act[2], act[3]
  local rows = {}
  for _, priority in ipairs(law.lanes_of(queue_name)) do
    local fresh, back = law.fresh(queue_name, priority), law.back(queue_name, priority)
    for _, row in ipairs(call('LRANGE', fresh, 0, limit - 1)) do
      if law.has_row(row) then
        rows[#rows + 1] = row
      else
        call('LREM', fresh, 1, row)
      end
    end
    for _, row in ipairs(call('ZRANGE', back, 0, limit - 1)) do
      rows[#rows + 1] = row
    end
  end
  local away = key('away:' .. queue_name)
  for _, row in ipairs(call('SRANDMEMBER', away, limit)) do
    rows[#rows + 1] = row
  end
  table.sort(rows)
  local gone = 0
  for _, row in ipairs(rows) do
    if gone == limit then
      break
    end
    local entry = law.entry_of_row(row)
    if entry then
      law.call_off(entry, {'purged', {queue_name}})
      gone = gone + 1
    end
  end
  law.save_counts()
  local more = call('EXISTS', away) == 1 or call('HEXISTS', key('count:ready'), queue_name) == 1
  return {gone, more}
end

-- Forget dead letters; how many there were.
function acts.purge_dead(act)
  return law.forget_dead(act[2] or call('ZRANGE', key('dead_order'), 0, -1))
end

-- Give nothing of a queue to workers any more, or do so again.
function acts.pause(act)
  local queue_name, paused = act[2], act[3]
  call(paused and 'SADD' or 'SREM', key('paused'), queue_name)
  moment.marks.paused = call('SCARD', key('paused'))
  touch('tasks')
end

-- Do some of what the time does: begin what is due, end what has expired, give turns.  Whether there may
-- be more.
function acts.promote()
  local now = moment.now
  local over = call('ZRANGEBYSCORE', key('expiring'), '-inf', now, 'LIMIT', 0, SLICE)
  for _, row in ipairs(over) do
    local entry = law.entry_of_row(row)
    if entry then
      law.expire(entry)
    else
      law.cannot_expire(row)
    end
  end
  local due = call('ZRANGEBYSCORE', key('scheduled'), '-inf', now, 'LIMIT', 0, SLICE)
  local rows = {}
  for i, place in ipairs(due) do
    rows[i] = string.match(place, '%d+$')
  end
  for i, packed in ipairs(law.rows(rows)) do
    local entry = packed and law.entry_of_row(rows[i], packed)
    if entry then
      law.leave(entry)
      entry.number = law.next_number()
      law.put(entry, 'ready')
    else
      call('ZREM', key('scheduled'), due[i])
    end
  end
  law.wake()
  if #due > 0 or moment.offers > 0 then
    touch('tasks')
  end
  return #over == SLICE or #due == SLICE
end
