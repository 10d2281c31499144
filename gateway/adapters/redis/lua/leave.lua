-- purpose: end one job: outstanding, ticket and slot back, quotas corrected, its record closed into the outbox.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {job, outcome, used{measure: millionths}, loaded, abandoned}: what counts against quotas, and the checkpoint
--          that the backend has now: absent keeps what is known, "" forgets it; abandoned: the backend may still be at
--          work, so its slot is not freed but marked as recovering
-- ARGV[4]: the ledger's final part as JSON
-- returns: {"closed", now} | {"corrected", now} for a job that was closed as lost before | {"known", now} | {"unknown", now}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.leave)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local fields = job_fields(a.job)
if not fields then return answer({'unknown', text(now)}) end

-- The work has ended, whatever became of the record: a slot that waits for exactly this job is free.
if fields.backend and a.abandoned then
  mark_recovering(a.job, fields.backend)
elseif fields.backend then
  free_slot(a.job, fields.backend, a.loaded)
end

if fields.state == 'c' then
  if redis.call('ZCARD', P .. 'tickets') > 0 then nudge_dispatcher() end
  if fields.closed ~= 'lost' or fields.corrected then return answer({'known', text(now)}) end
  redis.call('HSET', P .. 'job:' .. a.job, 'corrected', '1')
  settle(fields, a.used, 0)
  if not fields.upkeep then to_outbox(a.job, fields, a.outcome, ARGV[4]) end
  return answer({'corrected', text(now)})
end
close(a.job, fields, a.outcome, a.used, ARGV[4])
if redis.call('ZCARD', P .. 'tickets') > 0 then nudge_dispatcher() end
return answer({'closed', text(now)})
