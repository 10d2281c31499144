-- purpose: a failed attempt: the slot goes back and the same job asks again, elsewhere, with its old place in the queue.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {job, backends[], loaded, abandoned}: where it may still run; loaded and abandoned as in leave.lua
-- ARGV[4]: the scheduler's ticket as JSON
-- returns: {"granted", now, backend, loaded before} | {"queued", now, position, ""} | {"gone", now} when it no longer runs
-- oracle: tests/support/memory_jobs.py (MemoryJobs.requeue)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local fields = job_fields(a.job)
if not fields or fields.state ~= 'r' or fields.upkeep then return answer({'gone', text(now)}) end
if a.abandoned then
  mark_recovering(a.job, fields.backend)
else
  free_slot(a.job, fields.backend, a.loaded)
end
redis.call('SREM', P .. 'run:' .. fields.tenant, a.job)
redis.call('HSET', P .. 'job:' .. a.job, 'state', 'w', 'ticket', ARGV[4])
redis.call('HDEL', P .. 'job:' .. a.job, 'shown')
local known = redis.call('MGET', P .. 'caution', P .. 'lease')
local backend, loaded = place(fields.tenant, tonumber(fields.cap), fields.checkpoint, a.backends, known[1], known[2])
if backend then
  start(a.job, fields.tenant, fields.checkpoint, backend, loaded, RULE_0)
  return answer({'granted', text(now), backend, loaded})
end
redis.call('ZADD', P .. 'tickets', fields.entered, a.job)
redis.call('PEXPIRE', P .. 'tickets', KEEP_MS)
event('A', a.job)
nudge_dispatcher()
return answer({'queued', text(now), text(redis.call('ZRANK', P .. 'tickets', a.job) + 1), ''})
