-- How tasks end: out of where they are, remembered, buried, told.
--
-- A task that leaves the queue in a step is somewhere else at the end of it (promise 30).

local SLACK = 256 -- ids beyond those remembered, before they are taken out: in one go, not one by one

-- They count as accepted still: sending them again is harmless.
function law.remember(task_ids, ending)
  if #task_ids == 0 then
    return
  end
  local states, state = {}, '=' .. ending
  for i = 1, #task_ids do
    states[2 * i - 1] = task_ids[i]
    states[2 * i] = state
  end
  in_pieces('HSET', key('state'), states)
  local ended = in_pieces('RPUSH', key('ended'), task_ids)
  if #task_ids > CHUNK then
    ended = call('LLEN', key('ended'))
  end
  local too_many = ended - moment.remember
  if too_many > SLACK then
    -- no id in the list is anything else: what is known is not accepted again
    local oldest = call('LPOP', key('ended'), math.min(too_many, CHUNK))
    call('HDEL', key('state'), unpack(oldest))
  end
end

-- It has ended.  *its_end*: what is said of it, if it was no success.
function law.finish(entry, ending, its_end)
  local m, bounds = moment.marks, entry.bounds
  m.done = m.done + 1
  law.remember({entry.task_id}, ending)
  if bounds then
    if bounds[UNIQUE] then
      law.key_ended(bounds[UNIQUE], entry.task_id)
    end
    if ending ~= 'done' then
      law.break_off(entry, ending, its_end)
    end
  end
end

-- It has ended, and no worker says so.  It must have been taken out.
function law.finish_unreported(entry, ending, its_end)
  law.tell(entry, entry.task_id, entry.attempt, its_end)
  law.finish(entry, ending, its_end)
end

-- To the dead letters; the oldest goes if there are too many.
function law.bury(entry, reason, its_end, its_error)
  local m, data, bounds = moment.marks, entry.data, entry.bounds
  local task_id = entry.task_id
  m.buried = m.buried + 1
  local letter = {
    task_id, data[BLOB] or false, data[SAID] or false, entry.alias or false, entry.name, entry.queue,
    reason, entry.attempt, its_error or false, its_end or false, moment.now,
  }
  call('HSET', key('dead'), task_id, cmsgpack.pack(letter))
  call('ZADD', key('dead_order'), m.buried, task_id)
  call('HSET', key('state'), task_id, '!')
  if call('ZCARD', key('dead_order')) > moment.keep_dead then
    local oldest = call('ZPOPMIN', key('dead_order'))[1]
    call('HDEL', key('dead'), oldest)
    call('HDEL', key('state'), oldest)
  end
  if bounds then
    if bounds[UNIQUE] then
      law.key_ended(bounds[UNIQUE], task_id)
    end
    law.break_off(
      entry, 'dead', its_end or (its_error and {'given', {}} or {'died', {reason}}), its_error
    )
  end
end

-- Its time to start went by.
function law.expire(entry)
  law.take_out(entry)
  law.finish_unreported(entry, 'expired', {'expired', {}})
end

-- Cancel a task that waits.
function law.call_off(entry, its_end)
  law.take_out(entry)
  law.finish_unreported(entry, 'cancelled', its_end)
end

-- It was cancelled while it ran, and its worker has let go of it.
function law.end_cancelled(entry)
  law.drop_rows({entry.row})
  law.finish_unreported(entry, 'cancelled', {'cancelled', {}})
end

-- A task that runs: its worker hears of it.
function law.ask_to_cancel(entry)
  if not entry.cancelled then
    entry.cancelled = true
    law.save(entry)
    local fence = cmsgpack.pack({entry.session, entry.attempt, entry.token})
    local m = moment.marks
    m.notices = m.notices + call('HSET', key('notices'), entry.task_id, fence)
    touch('ends')
  end
end

-- A task runs no more: its permits are others'.
function law.let_go(entry)
  law.leave(entry)
  if entry.bounds then
    law.give_back(entry.bounds)
  end
end

-- A task that was leased may be claimed again, or once somebody knows it.
function law.make_ready(entry, held)
  if law.has_expired(entry) then
    law.drop_rows({entry.row})
    law.finish_unreported(entry, 'expired', {'expired', {}})
  else
    law.put(entry, 'ready', held)
  end
end

-- Dead letters go, and are remembered; how many there were.
function law.forget_dead(task_ids)
  local gone = {}
  for _, task_id in ipairs(task_ids) do
    if call('HDEL', key('dead'), task_id) == 1 then
      call('ZREM', key('dead_order'), task_id)
      gone[#gone + 1] = task_id
    end
  end
  law.remember(gone, 'dead')
  return #gone
end

-- --- early acknowledgement: tasks that are over for the queue while their results are to come ---

-- A leased task is acknowledged: its result comes from this session, or never.  Its row is kept.
function law.note_early(task_id, session, attempt, row)
  local m = moment.marks
  m.early = m.early + 1
  call('HSET', key('early'), task_id, cmsgpack.pack({session, attempt, row}))
  call('SADD', key('early:' .. session), task_id)
end

local function end_early(task_id, note)
  local m = moment.marks
  m.early = m.early - 1
  call('HDEL', key('early'), task_id)
  call('SREM', key('early:' .. note[1]), task_id)
end

local function early_note(task_id)
  local packed = call('HGET', key('early'), task_id)
  return packed and cmsgpack.unpack(packed)
end

-- For results.lua: its result is stored, or never will be.
function queue.told(task_id)
  if law.marks().early > 0 then
    local note = early_note(task_id)
    if note then
      end_early(task_id, note)
      law.drop_rows({note[3]})
    end
  end
end

-- A session has ended: what it has not stored by now is lost.
function law.give_up_early(session)
  if moment.marks.early == 0 then
    return
  end
  for _, task_id in ipairs(call('SMEMBERS', key('early:' .. session))) do
    local note = early_note(task_id)
    if note then
      local packed = call('HGET', law.segment(note[3]), note[3])
      end_early(task_id, note)
      if packed then
        local entry = law.fill({row = note[3]}, {cmsgpack.unpack(packed)})
        law.tell(entry, task_id, note[2], {'early', {}})
        law.drop_rows({note[3]})
      end
    end
  end
end
