-- purpose: what must stand in the ledger: how many jobs were admitted since counting began, and which are not there yet.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, nothing is changed
-- returns: {"tally", now, since, admitted, number of open jobs, job, entered, ...}: first every open job, then every job
--          in the outbox, whose record may stand in the ledger already; a job may come twice. since is 0 while nothing counts
-- oracle: tests/support/memory_jobs.py (MemoryJobs.tally)

local counted = redis.call('HMGET', P .. 'admitted', 'since', 'count')
local reply = {'tally', text(now), counted[1] or '0', counted[2] or '0', '0'}
local open = 0
for _, process in ipairs(redis.call('ZRANGE', P .. 'procs', 0, -1)) do
  for _, job in ipairs(redis.call('SMEMBERS', P .. 'held:' .. process)) do
    local values = redis.call('HMGET', P .. 'job:' .. job, 'entered', 'upkeep')
    if values[1] and not values[2] then
      open = open + 1
      table.insert(reply, job)
      table.insert(reply, values[1])
    end
  end
end
reply[5] = text(open)
for _, record in ipairs(redis.call('XRANGE', P .. 'outbox', '-', '+')) do
  local fields = {}
  for i = 1, #record[2], 2 do fields[record[2][i]] = record[2][i + 1] end
  table.insert(reply, fields.job)
  table.insert(reply, fields.entered)
end
return reply
