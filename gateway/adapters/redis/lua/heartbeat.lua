-- purpose: a process says it lives, learns what changed, and closes what processes that no longer live have left behind.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, a heartbeat may repeat
-- ARGV[3]: the process; ARGV[4]: a random text, used where generation or epoch is missing
-- ARGV[5]: lease_us, after which a silent process is dead; ARGV[6]: how many jobs the process believes it holds
-- ARGV[7]: the generation that the process knew, "" for none; ARGV[8]: the identity of a server that began anew since the
--          process last looked, else "": acknowledged writes may be missing in its data
-- returns: {now, generation, epoch, catalogue version, states version, dispatcher or "", jobs reaped, "=" or "!", held job, ...}:
--          "!" and the jobs held here when their number is not what the process believes
-- oracle: tests/support/memory_jobs.py (MemoryJobs.heartbeat)

local REAP_AT_ONCE = 200
local SILENCE_US = 3000000  -- three heartbeats
local process, lease_us = ARGV[3], tonumber(ARGV[5])
if redis.call('SET', KEYS[1], ARGV[4], 'NX') then redis.call('HSET', P .. 'admitted', 'since', text(now), 'count', 0) end
redis.call('SET', P .. 'epoch', ARGV[4], 'NX')

-- The store lost data: every process gets one lease to put back what it holds before anything is granted. Each cause
-- counts once, and keys are looked up anew, for a revocation may be among what was lost.
local function be_cautious(cause)
  local kept = redis.call('GET', P .. 'caution')
  if kept and string.match(kept, '^%d+ (.*)$') == cause then return end
  redis.call('SET', P .. 'caution', text(now + lease_us) .. ' ' .. cause, 'PX', KEEP_MS)
  redis.call('SET', P .. 'epoch', ARGV[4])
end

local generation = redis.call('GET', KEYS[1])
if ARGV[7] ~= '' and ARGV[7] ~= generation then
  be_cautious(generation)
elseif ARGV[8] ~= '' then
  be_cautious(ARGV[8])
end

-- When nobody was heard for a while it was the store that was away: the living get the time to be heard again.
local newest = redis.call('ZREVRANGE', P .. 'procs', 0, 0, 'WITHSCORES')
if newest[2] and now - tonumber(newest[2]) > SILENCE_US then
  redis.call('SET', P .. 'grace', text(now + SILENCE_US), 'PX', DAY_MS)
end
redis.call('ZADD', P .. 'procs', text(now), process)
for _, name in ipairs({'procs', 'slot', 'loaded', 'bstate', 'bcondition', 'states_version', 'catalogue', 'catalogue_version',
  'tickets', 'admitted', 'held:' .. process}) do
  redis.call('PEXPIRE', P .. name, KEEP_MS)
end

-- A slot whose holder is lost is not free: the backend may still be at work. It is marked, and freed once it is quiet.
local reaped = 0
local dead_before = now - lease_us
if now < tonumber(redis.call('GET', P .. 'grace') or '0') then dead_before = 0 end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', P .. 'procs', '-inf', '(' .. text(dead_before))) do
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

local known = redis.call('MGET', KEYS[1], P .. 'epoch', P .. 'catalogue_version', P .. 'states_version')
local reply = {text(now), known[1], known[2], known[3] or '', known[4] or '', dispatcher() or '', text(reaped), '='}
if redis.call('SCARD', P .. 'held:' .. process) ~= tonumber(ARGV[6]) then
  reply[8] = '!'
  for _, job in ipairs(redis.call('SMEMBERS', P .. 'held:' .. process)) do table.insert(reply, job) end
end
return reply
