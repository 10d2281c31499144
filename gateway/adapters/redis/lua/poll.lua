-- purpose: take or renew the dispatcher's lease and read what happened since: tickets that came and left, and the pool.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used: only events that the cursor says were seen are dropped,
--          so a poll whose answer was lost may be repeated, and one that arrives late does no harm
-- ARGV[3]: the process; ARGV[4]: the cursor of its last poll, "" to begin anew with every waiting ticket
-- returns: {"follower", now, dispatcher} | {"leader", now, "all"|"changes", cursor, arrived, left, slots, loaded, states,
--          began, conditions}: arrived is a flat list of job, entered, ticket; left a list of jobs; slots, loaded, states
--          and conditions flat lists of name, value; began a flat list of job, started, ended, ticket of jobs that began by
--          rule 0: ended is "0" for one that runs; one that failed is not in it. With "all" it is every job that runs.
--          When nobody held the lease, a backend that was up is unseen: nobody looked at it meanwhile.
-- oracle: tests/support/memory_jobs.py (MemoryJobs.poll)

local EVENTS_AT_ONCE = 1000
local process = ARGV[3]
local holder = dispatcher()
if holder and holder ~= process then return {'follower', text(now), holder} end
local term = redis.call('GET', P .. 'term')
if not holder then
  local states = redis.call('HGETALL', P .. 'bstate')
  for i = 1, #states, 2 do
    if states[i + 1] == 'up' then redis.call('HSET', P .. 'bstate', states[i], 'unseen') end
  end
  if #states > 0 then redis.call('INCR', P .. 'states_version') end
end
if not holder or not term then
  term = text(now)
  redis.call('SET', P .. 'term', term, 'PX', KEEP_MS)
end
redis.call('SET', P .. 'lease', process .. ' ' .. text(now), 'PX', DAY_MS)
redis.call('DEL', P .. 'wake:' .. process .. ':d')

local arrived, left, began = {}, {}, {}
local function ticket_of(job)
  local values = redis.call('HMGET', P .. 'job:' .. job, 'entered', 'ticket', 'state')
  if values[3] ~= 'w' then return end
  table.insert(arrived, job)
  table.insert(arrived, values[1])
  table.insert(arrived, values[2])
end

local function beginning_of(job)
  local values = redis.call('HMGET', P .. 'job:' .. job, 'state', 'started', 'ended', 'ticket', 'closed')
  local state, started, ended, ticket, outcome = unpack(values)
  local is_over = state == 'c' and (outcome == 'finished' or outcome == 'interrupted')
  if not ticket or not started or (state ~= 'r' and not is_over) then return end
  table.insert(began, job)
  table.insert(began, started)
  table.insert(began, is_over and ended or '0')
  table.insert(began, ticket)
end

local slots = redis.call('HGETALL', P .. 'slot')
local known_term, seen = string.match(ARGV[4], '^(%d+):(.+)$')
local all = known_term ~= term
if all then
  local last = redis.call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1)
  seen = #last == 1 and last[1][1] or '0-0'
  for _, job in ipairs(redis.call('ZRANGE', P .. 'tickets', 0, -1)) do ticket_of(job) end
  for i = 2, #slots, 2 do beginning_of(string.match(slots[i], '^%S+')) end
else
  redis.call('XTRIM', P .. 'events', 'MINID', seen)
  local events = redis.call('XRANGE', P .. 'events', '(' .. seen, '+', 'COUNT', EVENTS_AT_ONCE)
  for _, happened in ipairs(events) do
    local kind, job = happened[2][1], happened[2][2]
    seen = happened[1]
    if kind == 'A' then ticket_of(job) elseif kind == 'B' then beginning_of(job) else table.insert(left, job) end
  end
  if #events == EVENTS_AT_ONCE then nudge_dispatcher() end
end
return {'leader', text(now), all and 'all' or 'changes', term .. ':' .. seen, arrived, left,
  slots, redis.call('HGETALL', P .. 'loaded'), redis.call('HGETALL', P .. 'bstate'), began,
  redis.call('HGETALL', P .. 'bcondition')}
