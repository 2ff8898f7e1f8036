-- Claiming: ready tasks are leased to a session, queue by queue as it has chosen.
--
-- Of each queue the highest priority first, then the oldest; those that limits hold back are passed over.

local HELD_BACK = 1000 -- tasks that one step finds held back, at most: no step takes long
local MOST = 2000 -- tasks that one step leases, at most: who wants more asks again
local HEAVY = 16777216 -- bytes: of so many the last is leased in one step, to be carried in its time
local FEW = 8 -- places of a lane that are read together, at least, however large their tasks are
local SOME = 100 -- places of a lane that are read together, at least, where some are void

-- --- the heads of a queue: what was read of it, and not used yet ---

-- Of one lane, *missing* rows at most, the oldest first; places of tasks that are gone are taken out.
local function read_lane(queue_name, priority, missing)
  local fresh = law.fresh(queue_name, priority)
  local rows = call('LRANGE', fresh, 0, missing - 1)
  local packed = law.rows(rows)
  while true do
    local kept_rows, kept = {}, {}
    for i, each in ipairs(packed) do
      if each then
        kept_rows[#kept_rows + 1] = rows[i]
        kept[#kept + 1] = each
      end
    end
    if #kept == #rows then
      break
    end
    call('LPOP', fresh, #rows)
    for i = #kept_rows, 1, -1 do
      call('LPUSH', fresh, kept_rows[i])
    end
    rows = call('LRANGE', fresh, 0, math.max(missing, SOME) - 1)
    packed = law.rows(rows)
  end
  return rows, packed
end

-- So many of *wanted*: as the first is, so are the others, mostly: what is not leased need not be read.
local function portion(queue_name, priority, wanted)
  local row = wanted > FEW and call('LINDEX', law.fresh(queue_name, priority), 0)
  local size = row and call('HSTRLEN', law.segment(row), row) or 0
  return size * wanted <= HEAVY and wanted or math.max(FEW, math.ceil(HEAVY / size))
end

local function read_heads(queue_name, wanted)
  local heads = {
    queue = queue_name, at = 0, n = 0, rows = {}, packed = {}, lanes = {}, states = {},
    used = {}, used_back = {}, taken = 0,
  }
  for _, priority in ipairs(law.lanes_of(queue_name)) do
    local missing = wanted - heads.n
    if missing <= 0 then
      break
    end
    if heads.n == 0 then
      wanted = portion(queue_name, priority, wanted)
      missing = wanted
    end
    local rows, packed = read_lane(queue_name, priority, missing)
    local back = moment.marks.back > 0
      and call('ZRANGE', law.back(queue_name, priority), 0, missing - 1, 'WITHSCORES') or {}
    if #back == 0 and heads.n == 0 then
      heads.rows, heads.packed, heads.n = rows, packed, #rows
      for i = 1, #rows do
        heads.lanes[i] = priority
      end
    else
      local back_rows = {}
      for i = 1, #back, 2 do
        back_rows[#back_rows + 1] = back[i]
      end
      local back_packed = law.rows(back_rows)
      local ids = {}
      for i, each in ipairs(back_packed) do
        _, ids[i] = cmsgpack.unpack_one(each)
      end
      local states = #ids > 0 and call('HMGET', key('state'), unpack(ids))
      local i, j = 1, 1
      while (i <= #rows or j <= #back_rows) and missing > 0 do
        local n = heads.n + 1
        local older = j <= #back_rows
          and (i > #rows or tonumber(back[2 * j]) < tonumber(rows[i]))
        if older then
          heads.rows[n], heads.packed[n], heads.states[n] = back_rows[j], back_packed[j], states[j] or back_rows[j]
          j = j + 1
        else
          heads.rows[n], heads.packed[n] = rows[i], packed[i]
          i = i + 1
        end
        heads.lanes[n] = priority
        heads.n, missing = n, missing - 1
      end
    end
  end
  return heads
end

-- Out of the lanes with what was used.
local function use(heads)
  if not heads or heads.taken == 0 then
    return
  end
  for priority, n in pairs(heads.used) do
    call('LTRIM', law.fresh(heads.queue, priority), n, -1)
  end
  for priority, rows in pairs(heads.used_back) do
    local m = moment.marks
    m.back = m.back - in_pieces('ZREM', law.back(heads.queue, priority), rows)
  end
  law.count('ready', heads.queue, -heads.taken)
  heads.used, heads.used_back, heads.taken = {}, {}, 0
end

-- The next of them: its row, packed data, and if it was ready before its state.
local function next_head(heads)
  local at = heads.at + 1
  if at > heads.n then
    return nil
  end
  heads.at = at
  heads.taken = heads.taken + 1
  local row, priority = heads.rows[at], heads.lanes[at]
  if heads.states[at] then
    local rows = heads.used_back[priority]
    if not rows then
      rows = {}
      heads.used_back[priority] = rows
    end
    rows[#rows + 1] = row
    return row, heads.packed[at], heads.states[at]
  end
  heads.used[priority] = (heads.used[priority] or 0) + 1
  return row, heads.packed[at], nil
end

-- --- one claim ---

-- The queues that have work to give to who has this choice; sorted.
local function busy_queues(choice)
  if moment.marks.ready <= 0 then
    return {}
  end
  law.save_counts()
  local served
  if choice then
    served = {}
    for _, name in ipairs(choice[1]) do
      served[name] = true
    end
  end
  local paused = {}
  for _, name in ipairs(moment.marks.paused > 0 and call('SMEMBERS', key('paused')) or {}) do
    paused[name] = true
  end
  local busy = {}
  for _, name in ipairs(call('HKEYS', key('count:ready'))) do
    if not paused[name] and (not served or served[name]) then
      busy[#busy + 1] = name
    end
  end
  table.sort(busy)
  return busy
end

-- Whether a task that has left its lane may start; else it waits, or has ended.
local function may_start(entry)
  if law.has_expired(entry) then
    law.expire(entry)
    return false
  end
  if entry.bounds then
    if not law.admit(entry) then
      return false
    end
    if entry.bounds[UNIQUE] then
      law.key_started(entry.bounds[UNIQUE], entry.task_id)
    end
  end
  return true
end

-- Take from *heads* until *upto* are found; false if it is to be looked anew where there is work.
local function take_from(claim, heads, upto)
  local m, found = moment.marks, claim.found
  while #found < upto and claim.size < HEAVY do
    local row, packed, state = next_head(heads)
    if not row then
      return true
    end
    local task_id, blob, said, _, _, _, _, expires, _, bounds, alias = cmsgpack.unpack(packed)
    local attempt, failures, starts = 1, 0, true
    local is_bound = expires or bounds
    if state or is_bound then
      local entry = law.fill(law.parse(state or row), {cmsgpack.unpack(packed)})
      entry.state = 'nowhere'
      if is_bound then
        local offers = moment.offers
        use(heads)
        starts = may_start(entry)
        if not starts then
          claim.held_back = claim.held_back + 1
          if moment.offers ~= offers or claim.held_back >= HELD_BACK then
            return false
          end
        elseif entry.expires then
          law.cannot_expire(row)
        end
        if starts and moment.offers ~= offers then
          claim.again = true
        end
      end
      if starts then
        m.token = law.after_all(m.token)
        entry.state, entry.held, entry.due = 'leased', nil, nil
        entry.session, entry.token, entry.since = claim.session, m.token, moment.now
        entry.attempt = entry.attempt + 1
        attempt, failures = entry.attempt, entry.failures
        claim.states[#claim.states + 1] = task_id
        claim.states[#claim.states + 1] = law.pack_state(entry)
      end
    else
      m.token = law.after_all(m.token)
      claim.states[#claim.states + 1] = task_id
      claim.states[#claim.states + 1] = 'L' .. law.text(m.token) .. claim.holder .. row .. claim.since
    end
    if starts then
      claim.rows[#claim.rows + 1] = row
      claim.size = claim.size + #packed
      found[#found + 1] = {
        task_id, attempt, m.token, failures, alias or null, blob and put(blob, row) or null,
        said or null,
      }
      if claim.again then
        claim.again = nil
        return false
      end
    end
  end
  return true
end

local function next_turn(record, busy)
  local choice = record.choice
  if choice and not choice[2] then
    for _, name in ipairs(choice[1]) do
      for _, each in ipairs(busy) do
        if each == name then
          return name
        end
      end
    end
    return nil
  end
  local best, its_pass
  for _, name in ipairs(busy) do
    local pass = math.max(record.passes[name] or 0, record.pass)
    if not best or pass < its_pass then
      best, its_pass = name, pass
    end
  end
  return best
end

local function weight(choice, queue_name)
  if choice and choice[2] then
    for i, name in ipairs(choice[1]) do
      if name == queue_name then
        return choice[2][i]
      end
    end
  end
  return 1
end

-- So many turns were a queue's: stride scheduling, see `actorq.engines.memory.lease`.
local function had_turns(record, queue_name, turns)
  local step = 1 / weight(record.choice, queue_name)
  for _ = 1, turns do
    local pass = math.max(record.passes[queue_name] or 0, record.pass)
    record.pass = pass
    record.passes[queue_name] = pass + step
  end
end

-- What matters of it later: a pass that is behind is as good as none, and of one queue alone, where it is.
local function keep_turns(record)
  local n, name, step = 0, nil, nil
  for each, pass in pairs(record.passes) do
    if pass <= record.pass then
      record.passes[each] = nil
    else
      n, name, step = n + 1, each, pass - record.pass
    end
  end
  if n == 1 and step == 1 / weight(record.choice, name) then
    record.pass, record.passes[name] = 0, step
  end
end

function acts.claim(act)
  local session, limit = act[2], math.min(act[3], MOST)
  local m = moment.marks
  local record = law.session(session)
  if not record then
    return {claimed = {}, more = false}
  end
  for _, name in ipairs(act[4]) do
    law.release(name, record.choice and record.choice[1])
  end
  local claim = {
    session = session, found = {}, states = {}, rows = {}, held_back = 0, size = 0,
    holder = ' ' .. session .. ' ', since = string.format(' %.17g', moment.now),
  }
  local strict = record.choice and not record.choice[2]
  local turns = cmsgpack.pack(record.pass, record.passes)
  local busy, heads = busy_queues(record.choice), {}
  while #busy > 0 and #claim.found < limit and claim.held_back < HELD_BACK and claim.size < HEAVY do
    local name = next_turn(record, busy)
    if not name then
      break
    end
    local missing = limit - #claim.found
    local alone = strict or #busy == 1
    if not heads[name] or heads[name].at >= heads[name].n then
      use(heads[name])
      heads[name] = read_heads(name, alone and missing or math.ceil(missing / #busy) + 1)
    end
    local before = #claim.found
    local goes_on = true
    if heads[name].n > 0 then
      goes_on = take_from(claim, heads[name], alone and limit or before + 1)
    end
    if not strict then
      had_turns(record, name, #claim.found - before)
    end
    if not goes_on then -- held ones are back, in whichever queue
      for _, each in pairs(heads) do
        use(each)
      end
      busy, heads = busy_queues(record.choice), {}
    elseif heads[name].n == 0 then
      for i, each in ipairs(busy) do
        if each == name then
          table.remove(busy, i)
          break
        end
      end
    end
  end
  for _, each in pairs(heads) do
    use(each)
  end
  if #claim.rows > 0 then
    in_pieces('HSET', key('state'), claim.states)
    in_pieces('SADD', key('held:' .. session), claim.rows)
    m.leased = m.leased + #claim.rows
    if not strict then
      keep_turns(record)
      if cmsgpack.pack(record.pass, record.passes) ~= turns then
        call('HSET', key('sessions'), session, cmsgpack.pack(record))
      end
    end
    if call('ZADD', key('until'), moment.now + moment.lease, session) == 1 then
      call('ZREM', key('unused'), session)
    end
  end
  return {claimed = claim.found, more = claim.held_back >= HELD_BACK or claim.size >= HEAVY}
end
