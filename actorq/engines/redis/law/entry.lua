-- The entry: one call is one step, and each is done exactly once.
--
-- Keys: `meta` (a hash: `generation`, a random id of the data; `format`, of all keys; `last`, the time of
-- the latest writing call, or nearly; `stood`, when the server, or everybody, had last stood still;
-- `marks`, see queue.lua; `call PEER LANE`, the last number and its answers; counters of other parts: in
-- one hash, for each call of Redis costs more than what it does), `peers` (a sorted set: when each peer
-- called last).

-- Seconds after which what was saved for a silent peer is dropped, at least; and leases.
local SILENT, SILENT_LEASES = 3600, 10
-- Peers that are looked at in one call.
local SWEPT_PEERS = 20
-- Seconds: times that are kept may be older by so much.  What is not written costs nothing.
local GRAIN = 0.2

-- Of what is kept: another one is another version's, and is left alone.
local FORMAT = 1

local function server_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function forget_calls(peer)
  local call = 'call ' .. peer
  redis.call('HDEL', key('meta'), call .. ' broker', call .. ' results', call .. ' schedules')
end

-- Who is silent for long will not ask again; what is still to be passed on of it stays.
local function forget_silent()
  local silent = moment.now - math.max(SILENT, SILENT_LEASES * moment.lease)
  local found =
    redis.call('ZRANGEBYSCORE', key('peers'), '-inf', silent, 'LIMIT', 0, SWEPT_PEERS)
  for _, peer in ipairs(found) do
    if not queue.owes(peer) then
      redis.call('ZREM', key('peers'), peer)
      forget_calls(peer)
    end
  end
end

-- The caller closes in order: nothing of it will be asked again.
function acts.leave()
  local peer = moment.peer
  redis.call('ZREM', key('peers'), peer)
  forget_calls(peer)
  return null
end

-- A repeated call's blobs: what the queue still has is not saved, but found there again.
local function find_again(saved)
  local wanted, places = {}, {}
  for n, source in ipairs(saved) do
    if type(source) == 'table' then
      put(source[1])
    else
      put('', source)
      wanted[#wanted + 1] = source
      places[#places + 1] = n
    end
  end
  if #wanted > 0 then
    for n, blob in ipairs(queue.again(wanted)) do
      blobs[places[n]] = blob
    end
  end
end

local function to_be_saved()
  local saved = {}
  for n, source in ipairs(sources) do
    saved[n] = source or {blobs[n]}
  end
  return saved
end

-- To each topic: the result that is carried, who did it and to which tasks, and the result's length.  It
-- cannot fail: all is done by now, and a word that is not heard delays those who wait, no more.
local function say()
  for topic, ids in pairs(touched) do
    local blob = topic == 'results' and carried or ''
    local head = cmsgpack.pack({moment.peer, ids ~= true and ids or null})
    redis.pcall('PUBLISH', key(topic), blob .. head .. struct.pack('>I4', #blob))
  end
end

-- keys[1]: the hash `meta`.  args[1]: the request.  Back go the answers, the rest of the reply, and all
-- blobs in one string.
local function enter(keys, args)
  begin(string.sub(keys[1], 1, -5))
  local asked = cmsgpack.unpack(args[1])
  local todo, number = asked[1], asked[4]
  local now, peer, lane = asked[5] or server_time(), asked[2], asked[3]
  local meta, its_call = keys[1], 'call ' .. peer .. ' ' .. lane
  local generation, last, stood, limited, format, marks, call = unpack(
    redis.call(
      'HMGET', meta, 'generation', 'last', 'stood', 'limited', 'format', 'marks', its_call
    )
  )
  local before = last and tonumber(last)
  moment = { -- whole at once: a table that grows is made anew again and again
    peer = peer, lane = lane, number = number, now = now,
    lease = asked[6], seen = asked[8], room = asked[9], ttl = asked[10], limit = asked[11],
    early = asked[12], remember = asked[13], keep_dead = asked[14],
    before = before, stood = stood and tonumber(stood),
    limited = limited, -- see results.lua
    packed_marks = marks, takes_marks = number > 0, marks = nil, -- see queue.lua
    counts = nil, lanes = nil, offers = nil,
  }
  if before and not asked[5] and now - before > moment.lease / 3 + 1 then
    moment.stood = now -- nobody can have renewed a lease meanwhile
  end
  if not generation then
    local seed = table.concat({peer, number, unpack(redis.call('TIME'))}, ' ')
    generation = redis.sha1hex(seed)
    redis.call(
      'HSET', meta,
      'generation', generation, 'format', FORMAT, 'made', string.format('%.17g', now)
    )
  elseif tonumber(format) ~= FORMAT then
    return redis.error_reply('ACTORQ-FORMAT ' .. (format or '?') .. ', and not ' .. FORMAT)
  end

  local previous, answers, noted = null, nil, nil
  if number > 0 then
    if call then
      call = cmsgpack.unpack(call)
      previous = call[1]
      if number < previous then
        return redis.error_reply(
          'ACTORQ-LATE call ' .. number .. ' came after ' .. previous .. ' was done'
        )
      elseif number == previous then
        answers = call[2]
        find_again(call[3])
      end
      noted = call[4]
    end
    if not noted or math.abs(now - noted) >= GRAIN then
      noted = now
      redis.call('ZADD', key('peers'), now, peer)
    end
  elseif lane == 'broker' then
    -- who only looks is there, too; not more often than matters
    local seen = redis.call('ZSCORE', key('peers'), peer)
    if seen and tonumber(seen) < now - moment.lease / 10 then
      redis.call('ZADD', key('peers'), now, peer)
    end
  end

  local view = null
  if not answers then
    results.begin()
    if lane == 'broker' then
      queue.begin() -- others have little to do with it
    end
    local given, n, count = {}, 1, #todo
    while n <= count do
      local act = todo[n]
      if act[1] == 'store' then -- and all that follow it: what came together costs less together
        local some
        some, n = queue.store_all(todo, n)
        for _, answer in ipairs(some) do
          given[#given + 1] = answer
        end
      else
        local answer = acts[act[1]](act)
        if answer == nil then
          answer = null
        end
        given[#given + 1] = answer
        n = n + 1
      end
    end
    results.finish()
    marks = moment.marks and queue.finish()
    local saved = number > 0 and to_be_saved()
    if asked[7] then
      view = queue.view()
    end
    answers = cmsgpack.pack(given)
    if number > 0 then
      local written = {its_call, cmsgpack.pack({number, answers, saved, noted})}
      if marks then
        written[3], written[4] = 'marks', marks
      end
      if moment.stood == now or not before or math.abs(now - before) >= GRAIN then
        local n, time = #written, string.format('%.17g', now)
        written[n + 1], written[n + 2] = 'last', time
        if moment.stood == now then
          written[n + 3], written[n + 4] = 'stood', time
        end
      end
      if number % 100 == 0 then
        forget_silent()
      end
      redis.call('HSET', meta, unpack(written)) -- the last: from here on it was done, for who asks
    end
    say()
  elseif asked[7] then
    view = queue.view()
  end
  local lengths = {}
  for n, blob in ipairs(blobs) do
    lengths[n] = #blob
  end
  return {
    answers, cmsgpack.pack({now, generation, previous, view, lengths}), table.concat(blobs)
  }
end
