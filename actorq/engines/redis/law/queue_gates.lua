-- Gates: which ready tasks may start now, by their concurrency limits and rates.
--
-- Each key of a limit is a gate ("permit KEY", "pace KEY"); a task that it refuses is *held* there, the
-- highest priority first, then the oldest; when the gate has room, just as many as it has room for are
-- *offered* it, and may be claimed again.  A key with a million waiting costs the others nothing.
--
-- The invariant by which nobody is forgotten: while tasks wait at a gate, all its room is used or
-- offered, or an alarm is set for when it has some.

-- Seconds for which a rate is known after its last start has ceased to matter: a call with a longer
-- period may come.
local KEPT = 3600
local SWEPT_RATES = 4 -- such that each new one takes out: more than come
local MANY = 32 -- heads of a crowd that are looked at together

-- Fields of a permit and of a pace.
local LIMIT = 2
local STARTS, PERIOD, SMOOTH = 2, 3, 4

local function crowd(gate, queue_name)
  return key('crowd:' .. #gate .. ':' .. gate .. ':' .. queue_name)
end

local function place_in_crowd(entry)
  return law.code(entry.priority) .. ' ' .. entry.number .. ' ' .. entry.row
end

-- Each key once: a call that has two limits of one key is one run and one start.
local function keys_of(limits)
  local found, seen = {}, {}
  for _, limit in ipairs(limits) do
    if not seen[limit[1]] then
      seen[limit[1]] = true
      found[#found + 1] = limit[1]
    end
  end
  return found
end

-- --- a concurrency limit ---

local function running(name)
  return tonumber(call('HGET', key('permits'), name) or 0)
end

local function permit_gate(name)
  return {name = 'permit ' .. name, why = 'limited', key = name, running = running(name)}
end

-- --- a rate, or several over the same starts ---

local function pace_gate(name)
  local packed = call('HGET', key('paces'), name)
  local pace = packed and cmsgpack.unpack(packed) or {0, 1, 0, 0, false}
  return {
    name = 'pace ' .. name, why = 'paced', key = name,
    last = pace[1], -- number of the latest start
    most = pace[2], -- starts that matter, as far as is known
    longest = pace[3], -- period, likewise
    ends = pace[4], -- when none of its starts matters any more
    alarm = pace[5] or nil, -- when it has room again, if somebody waits for that
  }
end

local function save_pace(gate)
  local packed = cmsgpack.pack({
    gate.last, gate.most, gate.longest, gate.ends, gate.alarm or false,
  })
  call('HSET', key('paces'), gate.key, packed)
end

local function start_at(gate, number)
  local found = call('LINDEX', key('starts:' .. gate.key), number - gate.last - 1)
  return found and tonumber(found)
end

-- Whether one may start at this rate when *used* others do.
local function is_free(gate, pace, used)
  if pace[SMOOTH] then
    local last = start_at(gate, gate.last)
    return used == 0 and (not last or last + pace[PERIOD] / pace[STARTS] <= moment.now)
  end
  if used >= pace[STARTS] then
    return false
  end
  local hinders = start_at(gate, gate.last - pace[STARTS] + used + 1)
  return not hinders or hinders + pace[PERIOD] <= moment.now
end

-- When the next with *bounds* may start, if none may now.
local function next_free(gate, bounds)
  local due = -math.huge
  for _, pace in ipairs(bounds[PACES]) do
    if pace[1] == gate.key then
      local number = pace[SMOOTH] and gate.last or gate.last - pace[STARTS] + 1
      local start = start_at(gate, number)
      if start then
        due = math.max(due, start + (pace[SMOOTH] and pace[PERIOD] / pace[STARTS] or pace[PERIOD]))
      end
    end
  end
  return due
end

local function is_wanted(gate)
  return call('EXISTS', key('gate:' .. gate)) == 1
end

local function forget_rate(name)
  call('DEL', key('starts:' .. name))
  call('HDEL', key('paces'), name)
  call('ZREM', key('idle'), name)
  call('ZREM', key('alarms'), name)
end

-- Forget rates that nobody has had a turn of for long.
local function sweep_rates()
  local unused =
    call('ZRANGEBYSCORE', key('idle'), '-inf', moment.now - KEPT, 'LIMIT', 0, SWEPT_RATES)
  for _, name in ipairs(unused) do
    if is_wanted('pace ' .. name) then
      call('ZADD', key('idle'), moment.now, name)
    else
      forget_rate(name)
    end
  end
end

-- One has started that brought these.
local function start(gate, paces)
  for _, pace in ipairs(paces) do
    if pace[1] == gate.key then
      gate.longest = math.max(gate.longest, pace[PERIOD])
      if not pace[SMOOTH] then
        gate.most = math.max(gate.most, pace[STARTS])
      end
    end
  end
  gate.last = gate.last + 1
  gate.ends = moment.now + gate.longest
  save_pace(gate)
  call('ZADD', key('idle'), gate.ends, gate.key)
  local starts = key('starts:' .. gate.key)
  if call('RPUSH', starts, string.format('%.17g', moment.now)) > gate.most then
    call('LTRIM', starts, -gate.most, -1)
  end
  while true do
    local oldest = call('LINDEX', starts, 0)
    if not oldest or tonumber(oldest) + gate.longest > moment.now then
      return
    end
    call('LPOP', starts)
  end
end

-- Set the alarm, or take it back.
local function ring(gate, due)
  gate.alarm = due
  save_pace(gate)
  if due then
    call('ZADD', key('alarms'), due, gate.key)
  else
    call('ZREM', key('alarms'), gate.key)
  end
end

-- --- both ---

local function named(name)
  local kind, of = string.match(name, '^(%S+) (.*)$')
  return kind == 'permit' and permit_gate(of) or pace_gate(of)
end

-- Whether one with *bounds* may start when *used* others do.
local function has_room(gate, bounds, used)
  if gate.running then
    for _, permit in ipairs(bounds[PERMITS]) do
      if permit[1] == gate.key and permit[LIMIT] - gate.running <= used then
        return false
      end
    end
    return true
  end
  for _, pace in ipairs(bounds[PACES]) do
    if pace[1] == gate.key and not is_free(gate, pace, used) then
      return false
    end
  end
  return true
end

-- Out of the crowd where it waits.
function law.leave_crowd(entry)
  local gate = entry.gate
  call('ZREM', crowd(gate, entry.queue), place_in_crowd(entry))
  law.one_less(key('gate:' .. gate), 'w' .. entry.queue)
  entry.gate = nil
end

-- For who checks: whether it waits where it says.
function law.is_in_crowd(entry)
  return call('ZSCORE', crowd(entry.gate, entry.queue), place_in_crowd(entry))
end

-- For who checks: the keys of which a task that runs has permits.
function law.permits_of(entry)
  local found = {}
  for _, permit in ipairs(entry.bounds and entry.bounds[PERMITS] or {}) do
    found[permit[1]] = true
  end
  return found
end

local function offer(gate, entry)
  law.leave(entry)
  entry.offer = gate.name
  call('HINCRBY', key('gate:' .. gate.name), 'o' .. entry.queue, 1)
  law.may_expire(entry.expires, entry.row)
  law.put_back(entry)
  law.save(entry)
  moment.offers = moment.offers + 1
end

local function look_at_crowd(gate, queue_name)
  local where = crowd(gate.name, queue_name)
  local offered = tonumber(call('HGET', key('gate:' .. gate.name), 'o' .. queue_name) or 0)
  local few = 1
  while true do
    local heads = call('ZRANGE', where, 0, few - 1)
    if #heads == 0 then
      return
    end
    few = MANY
    for _, head in ipairs(heads) do
      local entry = law.entry_of_row(string.match(head, '%d+$'))
      if not entry then
        call('ZREM', where, head)
      elseif not has_room(gate, entry.bounds, offered) then
        if not gate.running and offered == 0 then
          local due = next_free(gate, entry.bounds)
          if not gate.alarm or due < gate.alarm then
            ring(gate, due)
          end
        end
        return
      else
        offered = offered + 1
        offer(gate, entry)
      end
    end
  end
end

-- Offer the room there is to those who wait for it; set the alarm if time gives some.
local function look_at(gate)
  for _, field in ipairs(call('HKEYS', key('gate:' .. gate.name))) do
    if string.sub(field, 1, 1) == 'w' then
      look_at_crowd(gate, string.sub(field, 2))
    end
  end
end

-- An offer that it has not used; its gate's name, or nil.
local function withdrawn(entry)
  local gate = entry.offer
  entry.offer = nil
  if gate then
    law.one_less(key('gate:' .. gate), 'o' .. entry.queue)
  end
  return gate
end

-- A task leaves: an offer that it has not used is somebody else's.
function law.withdraw(entry)
  local touched_gate = withdrawn(entry)
  if touched_gate then
    look_at(named(touched_gate))
  end
end

-- It waits at *gate*: it must be nowhere.
local function hold(entry, gate)
  local touched_gate = withdrawn(entry)
  entry.state, entry.held, entry.gate = 'ready', gate.why, gate.name
  call('ZADD', crowd(gate.name, entry.queue), 0, place_in_crowd(entry))
  call('HINCRBY', key('gate:' .. gate.name), 'w' .. entry.queue, 1)
  call('SADD', key('away:' .. entry.queue), entry.row)
  law.count(gate.why, entry.queue, 1)
  law.save(entry)
  look_at(gate)
  if touched_gate and touched_gate ~= gate.name then
    look_at(named(touched_gate))
  end
end

-- Whether a task may start.  If so it has started; else it is held, and waits.
function law.admit(entry)
  local bounds = entry.bounds
  for _, permit in ipairs(bounds[PERMITS]) do
    local gate = permit_gate(permit[1])
    if gate.running >= permit[LIMIT] then
      hold(entry, gate)
      return false
    end
  end
  for _, pace in ipairs(bounds[PACES]) do
    local gate = pace_gate(pace[1])
    if not is_free(gate, pace, 0) then
      hold(entry, gate)
      return false
    end
  end
  withdrawn(entry) -- its gate is one of these: what was offered is now used
  for _, name in ipairs(keys_of(bounds[PERMITS])) do
    call('HINCRBY', key('permits'), name, 1)
  end
  for _, name in ipairs(keys_of(bounds[PACES])) do
    local gate = pace_gate(name)
    if gate.last == 0 then
      sweep_rates()
    end
    start(gate, bounds[PACES])
    look_at(gate)
  end
  return true
end

-- A task that had started runs no more.
function law.give_back(bounds)
  for _, name in ipairs(keys_of(bounds[PERMITS])) do
    law.one_less(key('permits'), name)
    look_at(permit_gate(name))
  end
end

-- Give the turns that have come by time.
function law.wake()
  for _, name in ipairs(call('ZRANGEBYSCORE', key('alarms'), '-inf', moment.now)) do
    local gate = pace_gate(name)
    ring(gate, nil)
    look_at(gate)
  end
end

local function somebody_waits(name)
  for _, field in ipairs(call('HKEYS', key('gate:pace ' .. name))) do
    if string.sub(field, 1, 1) == 'w' then
      return true
    end
  end
  return false
end

-- When `wake` has something to do, or nil.
function law.next_wake()
  local from = 0
  while true do
    local some = call('ZRANGE', key('alarms'), from, from + 9, 'WITHSCORES')
    if #some == 0 then
      return nil
    end
    for i = 1, #some, 2 do
      if somebody_waits(some[i]) then
        return tonumber(some[i + 1])
      end
    end
    from = from + 10
  end
end
