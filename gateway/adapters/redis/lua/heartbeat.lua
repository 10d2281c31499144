-- purpose: a process says it lives, learns what changed, and closes what processes that no longer live have left behind.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, a heartbeat may repeat
-- ARGV[3]: the process; ARGV[4]: a random text, used where generation or epoch is missing
-- ARGV[5]: lease_us, after which a silent process is dead; ARGV[6]: how many jobs the process believes it holds
-- returns: {now, generation, epoch, catalogue version, dispatcher or "", jobs reaped, "=" or "!", held job, ...}:
--          "!" and the jobs held here when their number is not what the process believes
-- oracle: tests/support/memory_jobs.py (MemoryJobs.heartbeat)

local REAP_AT_ONCE = 200
local process = ARGV[3]
redis.call('SET', KEYS[1], ARGV[4], 'NX')
redis.call('SET', P .. 'epoch', ARGV[4], 'NX')
redis.call('ZADD', P .. 'procs', text(now), process)
for _, name in ipairs({'procs', 'slot', 'loaded', 'bstate', 'catalogue', 'catalogue_version', 'tickets', 'held:' .. process}) do
  redis.call('PEXPIRE', P .. name, KEEP_MS)
end

-- A slot whose holder is lost is not free: the backend may still be at work. It is marked, and freed once it is quiet.
local reaped = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', P .. 'procs', '-inf', '(' .. text(now - tonumber(ARGV[5])))) do
  local jobs = redis.call('SMEMBERS', P .. 'held:' .. dead)
  table.sort(jobs)
  for _, job in ipairs(jobs) do
    if reaped >= REAP_AT_ONCE then break end
    local fields = job_fields(job)
    if fields then
      close(job, fields, 'lost', {}, '{}')
      if fields.state == 'r' then mark_recovering(job, fields.backend) end
    else
      redis.call('SREM', P .. 'held:' .. dead, job)
    end
    reaped = reaped + 1
  end
  if redis.call('EXISTS', P .. 'held:' .. dead) == 0 then
    redis.call('ZREM', P .. 'procs', dead)
    redis.call('DEL', P .. 'wake:' .. dead, P .. 'wake:' .. dead .. ':d')
  end
end
if reaped > 0 then nudge_dispatcher() end

local known = redis.call('MGET', KEYS[1], P .. 'epoch', P .. 'catalogue_version')
local reply = {text(now), known[1], known[2], known[3] or '', dispatcher() or '', text(reaped), '='}
if redis.call('SCARD', P .. 'held:' .. process) ~= tonumber(ARGV[6]) then
  reply[7] = '!'
  for _, job in ipairs(redis.call('SMEMBERS', P .. 'held:' .. process)) do table.insert(reply, job) end
end
return reply
