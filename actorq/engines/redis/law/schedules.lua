-- Schedules, and the announcements of their changes.
--
-- Keys: `schedules` (a hash by id: the version, a NUL, the state) and `schedule:changes` (a list: the ids
-- that were announced last).  In `meta`: `changes`, how many were announced.

local CHANGES_KEPT = 1000

local function version_of(row)
  return string.sub(row, 1, string.find(row, '\0', 1, true) - 1)
end

local function state_of(row)
  return string.sub(row, string.find(row, '\0', 1, true) + 1)
end

function acts.schedules()
  local found, list = redis.call('HGETALL', key('schedules')), {}
  for n = 1, #found, 2 do
    list[#list + 1] = {found[n], state_of(found[n + 1])}
  end
  table.sort(list, function(one, other) return one[1] < other[1] end)
  return list
end

function acts.schedule(act)
  local row = redis.call('HGET', key('schedules'), act[2])
  return row and state_of(row) or null
end

function acts.swap(act)
  local id, version, new, announce = act[2], act[3], act[4], act[5]
  local row = redis.call('HGET', key('schedules'), id)
  local there = row and version_of(row) or nil
  if there ~= version then
    return false
  end
  if new then
    redis.call('HSET', key('schedules'), id, new[1] .. '\0' .. new[2])
  elseif there then
    redis.call('HDEL', key('schedules'), id)
  end
  if announce then
    redis.call('HINCRBY', key('meta'), 'changes', 1)
    redis.call('RPUSH', key('schedule:changes'), id)
    redis.call('LTRIM', key('schedule:changes'), -CHANGES_KEPT, -1)
    touch('schedules')
  end
  return true
end

function acts.clear(act)
  local row = redis.call('HGET', key('schedules'), act[2])
  if row and state_of(row) == act[3] then
    redis.call('HDEL', key('schedules'), act[2])
  end
end

function acts.changes(act)
  local seen = act[2]
  local newest = tonumber(redis.call('HGET', key('meta'), 'changes') or 0)
  if not seen then
    return {newest, {}}
  end
  local new = newest - seen
  if new > CHANGES_KEPT or new < 0 then
    return {newest, null} -- some were dropped, or all: another server's, perhaps
  end
  local ids, known = {}, {}
  if new > 0 then
    for _, id in ipairs(redis.call('LRANGE', key('schedule:changes'), -new, -1)) do
      if not known[id] then
        known[id] = true
        ids[#ids + 1] = id
      end
    end
  end
  return {newest, ids}
end
