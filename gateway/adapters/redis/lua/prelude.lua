-- purpose: what every script shares; it is put before each of them when they are loaded, and is no script of its own.
-- KEYS[1]: "{namespace}:generation"; every other key of the gateway shares its hash tag and is named from its prefix
-- ARGV[1]: the time in microseconds, set by contract suites only; "" in production: the server's clock
-- ARGV[2]: operation id: the same id again returns the first answer and changes nothing; "" for scripts that may repeat
-- returns: nothing; it defines the locals below
-- oracle: tests/support/memory_jobs.py (MemoryJobs)
--
-- Keys, all below the prefix P (times are microseconds since the epoch, by the server's clock):
--   generation, epoch        random texts, compared for equality only; kept until the data are lost
--                            (with outbox and aside the only keys without a TTL; heartbeats renew those of procs, slot, loaded,
--                            bstate, bcondition, states_version, catalogue, catalogue_version, tickets, admitted and held)
--   procs                    zset: process -> last heartbeat
--   held:<process>           set of the jobs that this process answers for
--   out:<tenant>             set of the tenant's outstanding jobs (waiting + running)
--   run:<tenant>             set of the tenant's running jobs
--   rate:<id>                GCRA's theoretical arrival time
--   quota:<tenant>:<measure>:<window>:<day>   millionths that the window from that day (since 1970) on has used,
--                            reservations included; with :<job> behind it: that job was asked for this window's seed
--   tickets                  zset: waiting job -> time of entry
--   job:<id>                 hash: tenant proc state(w|r|c) backend checkpoint cap entered started quota static ticket
--                            key task shown asked:<process> ...
--   own:<key>                zset: outstanding job of that key -> time of entry
--   options:<key>            hash: name -> value as JSON, what the key posted as its options; another options_version:<key> after
--                            each change
--   slot                     hash: backend -> "<job> <tenant> <started>"; "! <job> <since>" while it is recovering
--   loaded, bstate           hash: backend -> checkpoint / BackendState
--   bcondition               hash: backend -> why it is in its state, as JSON; states_version changes with bstate and this
--   catalogue                hash: backend -> inventory as JSON; catalogue_version changes with it
--   caution                  "<until> <cause>": until then nothing is granted, because the store lost data
--   grace                    until then no process is taken for dead, because the store itself was silent
--   admitted                 hash: since -> when counting began, count -> jobs admitted since then
--   lease                    "<process> <renewed>": who runs the dispatcher
--   server                   the start of the server that the lease belongs to: another start ends it
--   scheduler                what the scheduler remembers over a change of leader, as JSON
--   outlook                  the dispatcher's forecast, as hash: j:<job> -> [position, start, why] as JSON;
--                            t:<tenant> -> when its first waiting job starts; c:<checkpoint> -> what a further call waits;
--                            other -> the same for a checkpoint that has no field of its own
--   events                   stream for the dispatcher: tickets that came (A) and left (L), jobs that began by rule 0 (B)
--   term                     of the events: another one when the dispatcher changed or events had to be dropped
--   wake:<process>           what that process waits for, as JSON: [job, backend, started, loaded before, why]; also
--                            ["look", job, process, with preview], ["wish", job, wish], ["preview", job, image]
--   wake:<process>:d         "D" while there is work for the dispatcher in that process
--   outbox                   stream of closed records, until they stand in SQL
--   aside                    hash: id in the stream -> a record that SQL cannot keep, with the reason (MessagePack)
--   op:<id>                  first answer of an operation
-- Identifiers of jobs, tenants and processes hold no white space; names of backends and checkpoints may.

local P = string.sub(KEYS[1], 1, -11)
local DAY_MS = 86400000
local KEEP_MS = 30 * DAY_MS  -- collects garbage only: far beyond any job's life and any outage
local LEASE_US = 3000000
local MAX_EVENTS = 10000
local AT_ONCE = 16  -- backends looked at with one command
local now = tonumber(ARGV[1])
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end

local function text(number)
  return string.format('%.0f', number)
end

local function first_answer()
  local kept = redis.call('GET', P .. 'op:' .. ARGV[2])
  return kept and cjson.decode(kept)
end

local function answer_kept(reply, milliseconds)
  redis.call('SET', P .. 'op:' .. ARGV[2], cjson.encode(reply), 'PX', milliseconds)
  return reply
end

local function answer(reply)
  return answer_kept(reply, 120000)
end

-- An answer that took nothing is kept for as long as it may be asked for again and no longer: refusals come in floods.
local function refuse(reply)
  return answer_kept(reply, 5000)
end

local function add(key, member)
  redis.call('SADD', key, member)
  redis.call('PEXPIRE', key, KEEP_MS)
end

local function wake(process, message)
  redis.call('RPUSH', P .. 'wake:' .. process, message)
  redis.call('PEXPIRE', P .. 'wake:' .. process, 60000)
end

-- The job is one of that key's; `key` is "" where nobody is to look at it.
local function own(job, key, entered)
  if not key or key == '' then return end
  redis.call('ZADD', P .. 'own:' .. key, entered, job)
  redis.call('PEXPIRE', P .. 'own:' .. key, KEEP_MS)
end

-- the process that holds the dispatcher's lease, or nil when nobody does; `lease`: the value of that key, if it was read
local function dispatcher(lease)
  if lease == nil then lease = redis.call('GET', P .. 'lease') end
  if not lease then return nil end
  local process, renewed = string.match(lease, '^(%S+) (%d+)$')
  if now - tonumber(renewed) > LEASE_US then return nil end
  return process
end

local function nudge_dispatcher()
  local process = dispatcher()
  if process and redis.call('LLEN', P .. 'wake:' .. process .. ':d') == 0 then
    wake(process .. ':d', 'D')
  end
end

-- Microseconds until the first waiting job of the tenant should start, "0" where nothing is foretold.
local function soonest(tenant)
  local starts = redis.call('HGET', P .. 'outlook', 't:' .. tenant)
  return starts and text(math.max(0, tonumber(starts) - now)) or '0'
end

local function event(kind, job)
  redis.call('XADD', P .. 'events', '*', kind, job)
  redis.call('PEXPIRE', P .. 'events', KEEP_MS)
  if kind == 'B' then return end  -- the next other event looks at the length
  if redis.call('XLEN', P .. 'events') > MAX_EVENTS then
    redis.call('DEL', P .. 'events')
    redis.call('SET', P .. 'term', text(now), 'PX', KEEP_MS)
  end
end

-- Whether those who hold jobs may not have put all of them back yet into a store that lost data.
-- `caution` is the value of that key, false where there is none.
local function is_cautious(caution)
  return caution and now < tonumber(string.match(caution, '^%d+'))
end

-- Rule 0: nobody waits, a free backend has the checkpoint loaded, the tenant runs fewer than its cap. While nobody leads,
-- nobody looks at the backends either: one may have been started anew, with options that are not right.
-- Gives that backend and what was loaded there, or nil.
local function place(tenant, cap, checkpoint, backends, caution, lease)
  if #backends == 0 or is_cautious(caution) or not dispatcher(lease) then return nil end
  if redis.call('ZCARD', P .. 'tickets') > 0 then return nil end
  if redis.call('SCARD', P .. 'run:' .. tenant) >= cap then return nil end
  for first = 1, #backends, AT_ONCE do  -- most often one of the first fits: a pool of 200 is not read for it
    local last = math.min(first + AT_ONCE - 1, #backends)
    local slots = redis.call('HMGET', P .. 'slot', unpack(backends, first, last))
    local states = redis.call('HMGET', P .. 'bstate', unpack(backends, first, last))
    local loaded = redis.call('HMGET', P .. 'loaded', unpack(backends, first, last))
    for i = 1, last - first + 1 do
      if not slots[i] and states[i] == 'up' and (checkpoint == '' or loaded[i] == checkpoint) then
        return backends[first + i - 1], loaded[i] or ''
      end
    end
  end
  return nil
end

-- `before` is what was loaded there: the job's process is told whether its checkpoint had to be loaded. `why` is the
-- reason of this placement, for the ledger.
local RULE_0 = 'free with its checkpoint loaded while nobody waited'
local function start(job, tenant, checkpoint, backend, before, why)
  redis.call('HSET', P .. 'slot', backend, job .. ' ' .. tenant .. ' ' .. text(now))
  if checkpoint ~= '' and checkpoint ~= before then redis.call('HSET', P .. 'loaded', backend, checkpoint) end
  redis.call('HSET', P .. 'job:' .. job, 'state', 'r', 'backend', backend, 'started', text(now), 'before', before, 'why', why)
  add(P .. 'run:' .. tenant, job)
  if why == RULE_0 then event('B', job) end
end

local function set_loaded(backend, checkpoint)
  if checkpoint == '' then
    redis.call('HDEL', P .. 'loaded', backend)
  else
    redis.call('HSET', P .. 'loaded', backend, checkpoint)
  end
end

-- Gives the job's slot back. `loaded`: nil keeps what is known of the backend's checkpoint, '' forgets it.
local function free_slot(job, backend, loaded)
  local holder = redis.call('HGET', P .. 'slot', backend)
  if not holder then return end
  if string.match(holder, '^(%S+)') == job or string.match(holder, '^! (%S+)') == job then
    redis.call('HDEL', P .. 'slot', backend)
    if loaded then set_loaded(backend, loaded) end
  end
end

-- The job gave its backend up while that may still be at work: nobody gets the slot until the backend is quiet.
local function mark_recovering(job, backend)
  local holder = redis.call('HGET', P .. 'slot', backend)
  if holder and string.match(holder, '^(%S+)') == job then
    redis.call('HSET', P .. 'slot', backend, '! ' .. job .. ' ' .. text(now))
  end
end

local function to_outbox(job, fields, outcome, final)
  redis.call('XADD', P .. 'outbox', '*', 'job', job, 'outcome', outcome, 'entered', fields.entered,
    'started', fields.started or '0', 'ended', text(now), 'backend', fields.backend or '',
    'static', fields.static or '{}', 'final', final, 'why', fields.why or '')
end

local function job_fields(job)
  local names = {'tenant', 'proc', 'state', 'backend', 'entered', 'started', 'quota', 'static', 'checkpoint',
    'cap', 'closed', 'corrected', 'upkeep', 'ticket', 'key', 'why'}
  local values = redis.call('HMGET', P .. 'job:' .. job, unpack(names))
  local fields = {}
  for i, name in ipairs(names) do fields[name] = values[i] or nil end
  return fields.tenant and fields
end

-- Each quota the job drew on: plus what was used, less that share (1 or 0) of its reservation that still stands.
local function settle(fields, used, share)
  if not fields.quota then return end
  for _, quota in ipairs(cjson.decode(fields.quota)) do
    local difference = (used[quota.measure] or 0) - share * tonumber(quota.amount)
    if difference ~= 0 and redis.call('EXISTS', quota.key) == 1 then
      redis.call('INCRBY', quota.key, text(difference))
    end
  end
end

-- Everything a job took goes back and its record goes to the outbox; the slot is the caller's to free or to mark.
local function close(job, fields, outcome, used, final)
  local tenant = fields.tenant
  redis.call('SREM', P .. 'held:' .. fields.proc, job)
  redis.call('SREM', P .. 'out:' .. tenant, job)
  redis.call('SREM', P .. 'run:' .. tenant, job)
  if fields.key and fields.key ~= '' then redis.call('ZREM', P .. 'own:' .. fields.key, job) end
  if redis.call('ZREM', P .. 'tickets', job) == 1 then event('L', job) end
  settle(fields, used, 1)
  redis.call('HSET', P .. 'job:' .. job, 'state', 'c', 'closed', outcome, 'ended', text(now))
  redis.call('PEXPIRE', P .. 'job:' .. job, 3600000)
  if not fields.upkeep then to_outbox(job, fields, outcome, final) end
end

