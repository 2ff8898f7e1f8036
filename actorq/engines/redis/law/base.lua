-- What all parts of the law share: the call that is being done, the keys' names, what is said and
-- handed back.
--
-- As a library this text is run once and its locals live on: whatever belongs to one call stands in
-- `moment`, or is reset in `begin`.

-- None, in what is handed back: nil would end a list.  Any function is packed as nil (and `cjson.null`
-- is not there while a library is loaded).
local function null() end
local acts = {} -- by name: the act, as a list, in; its answer out
local queue = {} -- of queue*.lua, for others
local results = {} -- of results.lua, for others

-- The call: peer, lane, number; now (Unix seconds), before (the latest writing call's time, or nil),
-- stood (when calls last came again after nobody could renew a lease for a while, or nil); and what
-- `Request` has: lease, view, seen, room, ttl, limit, early, remember, keep_dead.
local moment = {}

local prefix = false -- of all keys
local names = {} -- full names of keys, as they were asked for
local named = 0

-- The full name of one key.
local function key(name)
  local found = names[name]
  if not found then
    if named == 1000 then
      names, named = {}, 0
    end
    found = prefix .. name
    names[name] = found
    named = named + 1
  end
  return found
end

-- Blobs that go back, and where a call that is repeated finds them again.
local blobs = {}
local sources = {}

-- What stands for *data* in an answer.  *source*: a string by which `queue.again` finds it again, should
-- the call be repeated; without one it is saved with the answer.
local function put(data, source)
  local n = #blobs + 1
  blobs[n] = data
  sources[n] = source or false
  return n - 1
end

local touched = {} -- by topic: true, or a list of ids
local SAID = 500 -- ids that are said one by one
local carried = false -- the bytes of the only result that is said
local CARRIED = 4096 -- bytes: more are fetched by who waits for them

-- Say that a topic is new, when the step is done; *id*: of which task, and *blob* its result.
local function touch(topic, id, blob)
  local ids = touched[topic]
  if not id then
    touched[topic] = true
  elseif not ids then
    touched[topic] = {id}
    carried = blob and #blob <= CARRIED and blob or false
  elseif ids ~= true then
    local n = #ids
    if n == SAID then
      touched[topic] = true
    else
      ids[n + 1] = id
    end
    carried = false
  end
end

-- A new call.
local function begin(namespace)
  if prefix ~= namespace then
    prefix, names, named = namespace, {}, 0
  end
  moment, blobs, sources, touched, carried = {}, {}, {}, {}, false
end

-- Run *command* with *values* behind *first*, in pieces that `unpack` can take.  Even: pairs stay.
local CHUNK = 4000
local function in_pieces(command, first, values)
  local n = #values
  if n == 0 then
    return 0
  end
  if n <= CHUNK then
    return redis.call(command, first, unpack(values))
  end
  local sum = 0
  for from = 1, n, CHUNK do
    local done = redis.call(command, first, unpack(values, from, math.min(from + CHUNK - 1, n)))
    if type(done) == 'number' then
      sum = sum + done
    end
  end
  return sum
end
