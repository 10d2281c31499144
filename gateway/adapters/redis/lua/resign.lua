-- purpose: give the dispatcher's lease up, so that another process takes it at once.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used
-- ARGV[3]: the process
-- returns: {"resigned", now} | {"follower", now}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.resign)

if dispatcher() ~= ARGV[3] then return {'follower', text(now)} end
redis.call('DEL', P .. 'lease')
return {'resigned', text(now)}
