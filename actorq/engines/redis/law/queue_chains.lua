-- Chains: the ids of steps that are not accepted yet, and of those that never will be.
--
-- A step's id is known from when its chain is enqueued: who waits for it, or cancels it, must hear what
-- becomes of it at any time before the step itself is accepted.

local function is_broken(value)
  return value and string.byte(value) == ENDED
end

local function forget_broken(step)
  if is_broken(call('HGET', key('steps'), step)) then
    call('HDEL', key('steps'), step)
    local m = moment.marks
    m.steps = m.steps - call('ZREM', key('broken'), step)
  end
end

-- A task is accepted: what comes after it waits for it.
function law.begin_chain(task_id, chain)
  forget_broken(task_id) -- a dead letter was replayed
  for _, step in ipairs(chain or {}) do
    forget_broken(step)
    call('HSET', key('steps'), step, '>' .. task_id)
  end
end

-- Whether any step is remembered that never will be accepted.
function law.some_are_broken()
  return moment.marks.steps > 0
end

-- The task that a step waits for, or nil.
function law.awaited(step)
  local value = call('HGET', key('steps'), step)
  if value and not is_broken(value) then
    return string.sub(value, 2)
  end
  return nil
end

-- How a step's chain ended before it, or nil.
function law.how_broken(step)
  local value = call('HGET', key('steps'), step)
  if is_broken(value) then
    return string.sub(value, 2)
  end
  return nil
end

-- It waits no more.
local function accepted(step)
  local value = call('HGET', key('steps'), step)
  if value and not is_broken(value) then
    call('HDEL', key('steps'), step)
  end
end

-- A task has succeeded: whether what comes after it may be enqueued.
function law.go_on(entry)
  for _, step in ipairs(entry.bounds[CHAIN]) do
    accepted(step)
  end
  return not entry.severed
end

-- A task did not succeed, or was not to go on: the waiters of its later steps are told.
function law.break_off(entry, ending, its_end, its_error, kept)
  local m = moment.marks
  for _, step in ipairs(entry.bounds and entry.bounds[CHAIN] or {}) do
    if not (kept and kept[step]) then
      m.broken = m.broken + 1
      call('HSET', key('steps'), step, '=' .. ending)
      m.steps = m.steps + call('ZADD', key('broken'), m.broken, step)
      local why = {
        'broken',
        {entry.name, entry.task_id, ending == 'cancelled', its_end or false, its_error or false},
      }
      law.tell(entry, step, 1, why, nil, true)
    end
  end
  local too_many = m.steps - moment.remember
  if too_many > 0 then
    local oldest = call('ZPOPMIN', key('broken'), too_many)
    m.steps = m.steps - #oldest / 2
    for i = 1, #oldest, 2 do
      call('HDEL', key('steps'), oldest[i])
    end
  end
end
