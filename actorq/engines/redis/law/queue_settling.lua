-- Settling: a worker's word on its deliveries; each whose fence is stale is refused (promise 34).

local WORD = {
  task_id = 1, attempt = 2, token = 3, ending = 4, delay = 5, reason = 6, error = 7, later = 8,
  early = 9, result = 10,
}

local function try_again(entry, ending, delay)
  if ending == 'retry' then
    entry.failures = entry.failures + 1
  else
    entry.requeues = entry.requeues + 1
  end
  if entry.cancelled then
    law.end_cancelled(entry)
    return
  end
  if delay > 0 and not law.has_expired(entry) then
    entry.number = law.next_number()
    law.put(entry, 'scheduled', nil, moment.now + delay)
  else
    if ending == 'requeue' then -- or it would take its own turn again
      entry.number = law.next_number()
    end
    law.make_ready(entry)
  end
  touch('tasks')
end

-- A step of a chain has succeeded: its successor is accepted now, or never.
local function go_on(entry, later)
  if not law.go_on(entry) then
    law.break_off(entry, 'cancelled')
  elseif later[1] then
    law.follow(later)
  else
    law.break_off(entry, 'dead', {'unsaid', {}})
  end
end

local function settle_one(word, entry, row_stays)
  local ending, later = word[WORD.ending], word[WORD.later]
  local bounds = entry.bounds
  law.let_go(entry)
  if ending == 'done' or ending == 'cancelled' then
    if not row_stays then
      law.drop_rows({entry.row})
    end
    law.finish(entry, ending)
    if bounds and bounds[CHAIN][1] then
      if ending == 'done' then
        go_on(entry, later)
      end
    elseif later[1] then
      law.follow(later)
    end
  elseif ending == 'dead' then
    if not row_stays then
      law.drop_rows({entry.row})
    end
    law.bury(entry, word[WORD.reason], nil, word[WORD.error])
  elseif ending == 'retry' or ending == 'requeue' then
    try_again(entry, ending, word[WORD.delay])
  else
    entry.attempt = entry.attempt - 1 -- it does not count
    if entry.cancelled then
      law.end_cancelled(entry)
    else
      law.make_ready(entry, ending == 'park' and 'parked' or nil)
      touch('tasks')
    end
  end
end

-- Tasks without terms that nobody has cancelled: there is no more to their end than that.
local function end_plain(done)
  local n = #done.ids
  if n == 0 then
    return
  end
  local m = moment.marks
  m.done, m.leased = m.done + n, m.leased - n
  in_pieces('SREM', key('held:' .. done.session), done.held)
  law.drop_rows(done.rows)
  law.remember(done.ids, 'done')
  done.ids, done.held, done.rows = {}, {}, {}
end

function acts.settle(act)
  local session, words = act[2], act[3]
  local m = moment.marks
  local ids, verdicts, seen = {}, {}, {}
  for i, word in ipairs(words) do
    ids[i] = word[WORD.task_id]
  end
  local states = {}
  for from = 1, #ids, CHUNK do
    local to = math.min(from + CHUNK - 1, #ids)
    for i, state in ipairs(call('HMGET', key('state'), unpack(ids, from, to))) do
      states[from + i - 1] = state
    end
  end
  local holder = ' ' .. session .. ' '
  local done = {session = session, ids = {}, held = {}, rows = {}}
  for i, word in ipairs(words) do
    local task_id, state, ending = ids[i], states[i], word[WORD.ending]
    local row, entry
    if state and not seen[task_id] then
      if string.byte(state) == LEASED then
        local fence = 'L' .. law.text(word[WORD.token]) .. holder
        if string.sub(state, 1, #fence) == fence then
          row = string.match(state, '^%d+', #fence + 1)
        end
      else
        entry = law.parse(state)
        if
          entry and entry.state == 'leased' and entry.token == word[WORD.token]
          and entry.session == session
        then
          row = entry.row
        end
      end
    end
    verdicts[i] = row ~= nil
    if not row then
      m.refused = m.refused + 1
    else
      seen[task_id] = true
      if word[WORD.result] then
        results.store(word[WORD.result])
      end
      local ends = ending == 'done' or ending == 'cancelled' or ending == 'dead'
      -- its result is to come, and is kept here: so is what is told if it does not
      local row_stays = ends and word[WORD.early] and moment.early and not word[WORD.result]
      if row_stays then
        law.note_early(task_id, session, word[WORD.attempt], row)
      end
      local is_plain = not entry or not (entry.bound or entry.cancelled)
      if ending == 'done' and is_plain and not word[WORD.later][1] then
        done.ids[#done.ids + 1] = task_id
        done.held[#done.held + 1] = row
        if not row_stays then
          done.rows[#done.rows + 1] = row
        end
      else
        end_plain(done)
        local whole = law.entry(task_id, state)
        if whole then
          settle_one(word, whole, row_stays)
        end
      end
    end
  end
  end_plain(done)
  return verdicts
end

-- Leased tasks that cannot be given to anybody: to the dead letters (promise 42).
function acts.bury(act)
  for _, each in ipairs(act[2]) do
    local session, task_id, token, text, its_error = each[1], each[2], each[4], each[5], each[6]
    local entry = law.entry(task_id)
    if
      entry and entry.state == 'leased' and entry.token == token and entry.session == session
    then
      law.let_go(entry)
      law.drop_rows({entry.row})
      law.tell(entry, task_id, entry.attempt, {'given', {}}, its_error)
      law.bury(entry, 'cannot be decoded: ' .. text, nil, its_error)
    end
  end
end
