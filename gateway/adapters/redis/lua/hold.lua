-- purpose: take a free backend's slot for the gateway's own upkeep of it; given back by leave.lua like any job's.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: the process; ARGV[4]: the upkeep's job id; ARGV[5]: the backend; ARGV[6]: '1' if that upkeep is under way and
--          a store that lost its data is told so: then its caution is for those who hold slots, as this one does
-- returns: {"held", now, loaded} | {"taken", now}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.hold)

local kept = first_answer()
if kept then return kept end
local process, job, backend = ARGV[3], ARGV[4], ARGV[5]
local is_new = ARGV[6] ~= '1'
if is_new and is_cautious(redis.call('GET', P .. 'caution')) or redis.call('HEXISTS', P .. 'slot', backend) == 1 then
  return refuse({'taken', text(now)})
end
redis.call('HSET', P .. 'job:' .. job, 'tenant', '-', 'proc', process, 'checkpoint', '', 'cap', 1, 'entered', text(now), 'upkeep', '1')
redis.call('PEXPIRE', P .. 'job:' .. job, KEEP_MS)
add(P .. 'held:' .. process, job)
redis.call('ZADD', P .. 'procs', 'NX', text(now), process)
local loaded = redis.call('HGET', P .. 'loaded', backend) or ''
start(job, '-', '', backend, loaded, '')
return answer({'held', text(now), loaded})
