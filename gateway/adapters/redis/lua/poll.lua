-- purpose: take or renew the dispatcher's lease and read what happened since: tickets that came and left, and the pool.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used
-- ARGV[3]: the process; ARGV[4]: "all" to begin anew with every waiting ticket
-- returns: {"follower", now, dispatcher} | {"leader", now, "all"|"changes", arrived, left, slots, loaded, states}:
--          arrived is a flat list of job, entered, ticket; left a list of jobs; the last three flat lists of name, value
-- oracle: tests/support/memory_jobs.py (MemoryJobs.poll)

local AT_ONCE = 1000
local process = ARGV[3]
local holder = dispatcher()
if holder and holder ~= process then return {'follower', text(now), holder} end
redis.call('SET', P .. 'lease', process .. ' ' .. text(now), 'PX', DAY_MS)
redis.call('DEL', P .. 'wake:' .. process .. ':d')

local arrived, left = {}, {}
local function ticket_of(job)
  local values = redis.call('HMGET', P .. 'job:' .. job, 'entered', 'ticket', 'state')
  if values[3] ~= 'w' then return end
  table.insert(arrived, job)
  table.insert(arrived, values[1])
  table.insert(arrived, values[2])
end

local all = ARGV[4] == 'all' or not holder or redis.call('DEL', P .. 'events_lost') == 1
if all then
  redis.call('DEL', P .. 'events')
  for _, job in ipairs(redis.call('ZRANGE', P .. 'tickets', 0, -1)) do ticket_of(job) end
else
  local events = redis.call('LRANGE', P .. 'events', 0, AT_ONCE - 1)
  redis.call('LTRIM', P .. 'events', AT_ONCE, -1)
  for _, happened in ipairs(events) do
    local job = string.sub(happened, 2)
    if string.sub(happened, 1, 1) == 'A' then ticket_of(job) else table.insert(left, job) end
  end
  if #events == AT_ONCE then nudge_dispatcher() end
end
return {'leader', text(now), all and 'all' or 'changes', arrived, left, redis.call('HGETALL', P .. 'slot'),
  redis.call('HGETALL', P .. 'loaded'), redis.call('HGETALL', P .. 'bstate')}
