-- purpose: publish a running job's progress, and send its preview to the processes that watch.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, what is shown may be shown again
-- ARGV[3]: the job; ARGV[4]: the process, which must hold it; ARGV[5]: its progress as JSON
-- ARGV[6]: JSON ["preview", job, image] or ""; ARGV[7..]: the processes that get it
-- returns: {"shown"} | {"gone"} when the job does not run (any more) in that process
-- oracle: tests/support/memory_own.py (MemoryOwn.show)

local job = P .. 'job:' .. ARGV[3]
local known = redis.call('HMGET', job, 'state', 'proc')
if known[1] ~= 'r' or known[2] ~= ARGV[4] then return {'gone'} end
redis.call('HSET', job, 'shown', ARGV[5])
if ARGV[6] ~= '' then
  for i = 7, #ARGV do wake(ARGV[i], ARGV[6]) end
end
return {'shown'}
