-- Results, progress, and notes of what is gone.
--
-- Keys: `results` and `progress` (hashes by task id: a head, and the bytes), `results:expiry` (a sorted
-- set: packed lists of ids that were stored together, by the time when they expire, if they are still
-- the same), `progress:expiry` (a sorted set: ids, by the time when they expire), `gone` (a hash by task id: why) and `gone:order`
-- (a sorted set: the oldest note first).  `results:order` (a sorted set: the oldest result first) is
-- there once somebody has said how many results may be kept.  In `meta`: `progress`, `notes`, `results`
-- (counters), `forgotten` (notes dropped), `limited` (whether `results:order` is kept).
--
-- Nothing here has a time to live of Redis: who asks is told that a result has expired.

local GONE_KEPT = 100000
local SWEPT = 64 -- expired entries that one step takes out, if it stores few
local HEAD = 16 -- bytes: the attempt, and when it expires (0: never)
local TOGETHER = 100 -- ids of one list

local pending = {} -- results of settled tasks, to be stored when all acts are done

-- as two doubles: `struct` is there in functions and in scripts
local function head_of(attempt, expires)
  return struct.pack('>dd', attempt, expires or 0)
end

-- attempt, and when it expires or nil
local function head(row)
  local attempt, expires = struct.unpack('>dd', row)
  return attempt, expires > 0 and expires or nil
end

local function body(row)
  return string.sub(row, HEAD + 1)
end

local function is_over(row)
  local _, expires = head(row)
  return expires and expires <= moment.now
end

-- Remember why there is none.
local function note_gone(ids, why)
  local last = redis.call('HINCRBY', key('meta'), 'notes', #ids)
  local notes, numbers = {}, {}
  for n, task_id in ipairs(ids) do
    notes[2 * n - 1], notes[2 * n] = task_id, why
    numbers[2 * n - 1], numbers[2 * n] = last - #ids + n, task_id
    touch('results', task_id)
  end
  in_pieces('HSET', key('gone'), notes)
  in_pieces('ZADD', key('gone:order'), numbers)
  local extra = redis.call('ZCARD', key('gone:order')) - GONE_KEPT
  if extra > 0 then
    local oldest = redis.call('ZPOPMIN', key('gone:order'), math.min(extra, 2 * CHUNK))
    local dropped = {}
    for n = 1, #oldest, 2 do
      dropped[#dropped + 1] = oldest[n]
    end
    in_pieces('HDEL', key('gone'), dropped)
    redis.call('HINCRBY', key('meta'), 'forgotten', #dropped)
  end
end

function results.gone(task_id, why)
  note_gone({task_id}, why)
end

local function drop_progress(ids)
  if in_pieces('HDEL', key('progress'), ids) > 0 then
    in_pieces('ZREM', key('progress:expiry'), ids)
  end
end

-- These results go, with their progress; it is remembered that they were there.
local function bury(ids, why)
  if #ids == 0 then
    return
  end
  drop_progress(ids)
  in_pieces('HDEL', key('results'), ids)
  if moment.limited then
    in_pieces('ZREM', key('results:order'), ids)
  end
  note_gone(ids, why)
end

-- From here on it is known which result is the oldest; those that are there are taken as they come.
local function begin_order()
  local from, number = '0', 0
  repeat
    local found = redis.call('HSCAN', key('results'), from, 'COUNT', 500)
    from = found[1]
    local scores = {}
    for n = 1, #found[2], 2 do
      number = number + 1
      scores[#scores + 1] = number
      scores[#scores + 1] = found[2][n]
    end
    in_pieces('ZADD', key('results:order'), scores)
  until from == '0'
  redis.call('HSET', key('meta'), 'limited', 1, 'results', number)
  moment.limited = true
end

local function evict(limit)
  if not moment.limited then
    begin_order()
  end
  local extra = redis.call('HLEN', key('results')) - limit
  if extra > 0 then
    local oldest = redis.call('ZRANGE', key('results:order'), 0, math.min(extra, CHUNK) - 1)
    bury(oldest, string.format('evicted %d', limit))
  end
end

-- The rows of these, in their order; false: none.
local function rows_of(name, ids)
  local rows = {}
  for from = 1, #ids, CHUNK do
    local found = redis.call('HMGET', key(name), unpack(ids, from, math.min(from + CHUNK - 1, #ids)))
    for n, row in ipairs(found) do
      rows[from + n - 1] = row
    end
  end
  return rows
end

-- Take out some of what has expired.  *stored*: so many came, and as many must go, in the end.
local function sweep(stored)
  if stored < SWEPT / 4 and moment.number % 16 > 0 then
    return -- a small step looks now and then
  end
  local most = math.max(SWEPT, 2 * stored)
  local lists = redis.call(
    'ZRANGEBYSCORE', key('results:expiry'), '-inf', moment.now, 'LIMIT', 0, SWEPT
  )
  local looked, n = {}, 0
  while lists[n + 1] and #looked < most do
    n = n + 1
    for _, task_id in ipairs(cmsgpack.unpack(lists[n])) do
      looked[#looked + 1] = task_id
    end
    redis.call('ZREM', key('results:expiry'), lists[n])
  end
  local expired, seen = {}, {}
  for i, row in ipairs(rows_of('results', looked)) do
    local task_id = looked[i]
    if row and is_over(row) and not seen[task_id] then
      seen[task_id] = true
      expired[#expired + 1] = task_id
    end
  end
  bury(expired, 'expired')
  drop_progress(
    redis.call('ZRANGEBYSCORE', key('progress:expiry'), '-inf', moment.now, 'LIMIT', 0, most)
  )
end

-- Store [task_id, attempt, ttl, blob, lost]...; back comes for each nil, or "stored": a later attempt's
-- stands.  After a worker's death what it had stored itself stands.
local function store(list)
  local ids, verdicts, now = {}, {}, moment.now
  for n, result in ipairs(list) do
    ids[n] = result[1]
  end
  local rows = rows_of('results', ids)
  local values, places, fresh = {}, {}, {} -- what is written; where in it a task is; which tasks
  local lists = {} -- ids by their time to live
  local its_attempt, its_ttl, its_head = nil, nil, nil -- of the one before: mostly the same
  for n, result in ipairs(list) do
    local task_id, attempt, place = ids[n], result[2], places[ids[n]]
    local row, keep = place and values[place] or rows[n], false
    if row then
      if is_over(row) then
        bury({task_id}, 'expired') -- with its progress
      else
        local stored = head(row)
        if attempt < stored then
          verdicts[n] = 'stored'
        end
        keep = attempt < stored or (attempt == stored and result[5])
      end
    end
    if not keep then
      local ttl = result[3] or moment.ttl or false
      if attempt ~= its_attempt or ttl ~= its_ttl then
        its_attempt, its_ttl, its_head = attempt, ttl, head_of(attempt, ttl and now + ttl)
      end
      if not place then
        place = #values + 2
        places[task_id] = place
        values[place - 1] = task_id
        fresh[#fresh + 1] = task_id
      end
      values[place] = its_head .. result[4]
      if ttl then
        local some = lists[ttl]
        if not some then
          some = {}
          lists[ttl] = some
        end
        some[#some + 1] = task_id
      end
    end
  end
  if #fresh > 0 then
    in_pieces('HSET', key('results'), values)
    for ttl, some in pairs(lists) do
      for from = 1, #some, TOGETHER do
        local together = {unpack(some, from, math.min(from + TOGETHER - 1, #some))}
        redis.call('ZADD', key('results:expiry'), now + ttl, cmsgpack.pack(together))
      end
    end
    if moment.limited then
      local last = redis.call('HINCRBY', key('meta'), 'results', #fresh)
      local scores = {}
      for n, task_id in ipairs(fresh) do
        scores[2 * n - 1], scores[2 * n] = last - #fresh + n, task_id
      end
      in_pieces('ZADD', key('results:order'), scores)
    end
    for _, task_id in ipairs(fresh) do
      touch('results', task_id, #fresh == 1 and body(values[2]))
      queue.told(task_id)
    end
  end
  sweep(#list)
  if moment.limit then
    evict(moment.limit)
  end
  return verdicts
end

-- To be stored when all acts are done: the result of a task that is settled in this step.
function results.store(result)
  pending[#pending + 1] = result
end

-- All acts are done.
function results.finish()
  if #pending > 0 then
    local list = pending
    pending = {}
    store(list)
  end
end

function results.begin()
  pending = {}
end

function acts.set_results(act)
  results.finish()
  local list, places, answers = {}, {}, {}
  for n, result in ipairs(act[2]) do
    if queue.overtaken(result[1], result[2]) then
      answers[n] = 'runs'
    else
      list[#list + 1] = result
      places[#places + 1] = n
      answers[n] = null
    end
  end
  for n, verdict in pairs(store(list)) do
    answers[places[n]] = verdict
  end
  return answers
end

function acts.get_results(act)
  results.finish()
  local ids, found, missing, gone = act[2], {}, {}, {}
  for n, row in ipairs(rows_of('results', ids)) do
    local task_id = ids[n]
    if not row then
      missing[#missing + 1] = task_id
    elseif is_over(row) then
      gone[#gone + 1] = {task_id, 'expired'}
    else
      found[#found + 1] = {task_id, put(body(row))}
    end
  end
  for n, why in ipairs(rows_of('gone', missing)) do
    if why then
      gone[#gone + 1] = {missing[n], why}
    end
  end
  return {results = found, gone = gone}
end

function acts.delete_results(act)
  results.finish()
  for _, task_id in ipairs(act[2]) do
    if redis.call('HEXISTS', key('results'), task_id) == 1 then
      bury({task_id}, 'deleted')
    else
      drop_progress({task_id})
      touch('results', task_id)
    end
  end
end

function acts.give_up(act)
  results.finish()
  local task_id = act[2]
  drop_progress({task_id})
  results.gone(task_id, 'unsaved ' .. act[3])
  queue.told(task_id)
end

function acts.forgotten()
  return tonumber(redis.call('HGET', key('meta'), 'forgotten') or 0)
end

function acts.set_progress(act)
  results.finish()
  local task_id, attempt = act[2], act[3]
  if queue.overtaken(task_id, attempt) then
    return null
  end
  local ended = redis.call('HGET', key('results'), task_id)
  if ended and is_over(ended) then
    bury({task_id}, 'expired')
    ended = false
  end
  local reported = redis.call('HGET', key('progress'), task_id)
  if (ended and attempt <= head(ended)) or (reported and attempt < head(reported)) then
    return null
  end
  local expires = moment.ttl and moment.now + moment.ttl
  local number = redis.call('HINCRBY', key('meta'), 'progress', 1)
  redis.call(
    'HSET', key('progress'), task_id,
    head_of(attempt, expires) .. struct.pack('>d', number) .. act[4]
  )
  if expires then
    redis.call('ZADD', key('progress:expiry'), expires, task_id)
  else
    redis.call('ZREM', key('progress:expiry'), task_id)
  end
  touch('results', task_id)
  sweep(1)
  return number
end

function acts.get_progress(act)
  results.finish()
  local ids, found = act[2], {}
  local ended = rows_of('results', ids)
  for n, row in ipairs(rows_of('progress', ids)) do
    if row and not is_over(row) and not (ended[n] and is_over(ended[n])) then
      local rest = body(row)
      local number = struct.unpack('>d', rest)
      found[#found + 1] = {number, ids[n], put(string.sub(rest, 9))}
    end
  end
  table.sort(found, function(one, other) return one[1] < other[1] end)
  return found
end
