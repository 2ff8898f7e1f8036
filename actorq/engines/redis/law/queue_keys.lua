-- Unique keys: which task has which.
--
-- A key with a time is free when that has passed, whatever became of its task; the others are given free
-- at the task's start or end.

local SWEPT_KEYS = 4 -- such that each new one with a time takes out: more than come

local function holding(name)
  local packed = call('HGET', key('keys'), name)
  return packed and cmsgpack.unpack(packed)
end

-- The id of the task that has this key, or nil.
function law.holder(name)
  local found = holding(name)
  if not found or (found[2] and found[2] <= moment.now) then
    return nil
  end
  return found[1]
end

-- A task has the key from now on.
function law.take_key(unique, task_id)
  local name, timed = unique[KEY], key('timed_keys')
  local ends = false
  if unique[SECONDS] then
    ends = moment.now + unique[SECONDS]
    local over = call('ZRANGEBYSCORE', timed, '-inf', moment.now, 'LIMIT', 0, SWEPT_KEYS)
    if #over > 0 then
      call('ZREM', timed, unpack(over))
      call('HDEL', key('keys'), unpack(over))
    end
    call('ZADD', timed, ends, name)
  else
    call('ZREM', timed, name)
  end
  call('HSET', key('keys'), name, cmsgpack.pack({task_id, ends}))
end

local function free(name, task_id)
  local found = holding(name)
  if found and found[1] == task_id and not found[2] then
    call('HDEL', key('keys'), name)
  end
end

-- A worker has taken the task.
function law.key_started(unique, task_id)
  if unique[UNTIL] == 'start' then
    free(unique[KEY], task_id)
  end
end

-- The task has ended.
function law.key_ended(unique, task_id)
  if unique[UNTIL] ~= 'time' then
    free(unique[KEY], task_id)
  end
end
