-- purpose: put one job back that the store lost with its data, as the process that holds it remembers it.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {job, tenant, key, task, proc, checkpoint, cap, entered, backend, started, before,
--          quotas[{name, measure, amount}]}: times in microseconds by the store's clock of then, as text; backend,
--          started and before only for a job that runs; quotas: windows (the end of their keys) of which it reserved
--          millionths, as text
-- ARGV[4], ARGV[5]: the ledger's static part and the scheduler's ticket, both JSON, kept as they are
-- returns: {"restored", now} | {"known", now}: the store has that job, open or closed, and nothing changes
-- oracle: tests/support/memory_jobs.py (MemoryJobs.restore)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local job = P .. 'job:' .. a.job
if redis.call('EXISTS', job) == 1 then return refuse({'known', text(now)}) end
redis.call('HSET', job, 'tenant', a.tenant, 'proc', a.proc, 'state', 'w', 'checkpoint', a.checkpoint, 'cap', a.cap,
  'entered', a.entered, 'static', ARGV[4], 'ticket', ARGV[5], 'key', a.key, 'task', a.task)
redis.call('PEXPIRE', job, KEEP_MS)
-- A window that is not counted yet takes this reservation over when it is seeded.
local reservations = {}
for i, quota in ipairs(a.quotas) do
  local key = P .. 'quota:' .. a.tenant .. ':' .. quota.name
  if redis.call('EXISTS', key) == 1 then redis.call('INCRBY', key, quota.amount) end
  reservations[i] = {key = key, measure = quota.measure, amount = quota.amount}
end
if #reservations > 0 then redis.call('HSET', job, 'quota', cjson.encode(reservations)) end
-- Its admission was counted by the data that are lost; a store that only lost its latest writes counts on from the same time.
local since = redis.call('HGET', P .. 'admitted', 'since')
if since and tonumber(a.entered) >= tonumber(since) then redis.call('HINCRBY', P .. 'admitted', 'count', 1) end
own(a.job, a.key, a.entered)
add(P .. 'out:' .. a.tenant, a.job)
add(P .. 'held:' .. a.proc, a.job)
redis.call('ZADD', P .. 'procs', 'NX', text(now), a.proc)
if a.backend then
  redis.call('HSET', job, 'state', 'r', 'backend', a.backend, 'started', a.started, 'before', a.before)
  add(P .. 'run:' .. a.tenant, a.job)
  -- Should another have been given the backend meanwhile, its slot stays its own: this job still counts and is recorded.
  if redis.call('HSETNX', P .. 'slot', a.backend, a.job .. ' ' .. a.tenant .. ' ' .. a.started) == 1 then
    set_loaded(a.backend, a.checkpoint)
  end
  return answer({'restored', text(now)})
end
redis.call('ZADD', P .. 'tickets', a.entered, a.job)
redis.call('PEXPIRE', P .. 'tickets', KEEP_MS)
event('A', a.job)
nudge_dispatcher()
return answer({'restored', text(now)})
