-- purpose: admit one job, all or nothing: key still valid, rate, quotas, outstanding, open record, and the slot by rule 0 or a ticket.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {job, tenant, key, task, proc, epoch, options, checkpoint, backends[], cap, max_queued,
--          rates[{id, interval_us, burst}], quotas[{measure, window, limit, amount, seed}]}:
--          quotas in millionths; seed is what the ledger says the window has used, or false; options is the version of
--          the key's posted options that the job was shaped by, or null
-- ARGV[4], ARGV[5]: the ledger's static part and the scheduler's ticket, both JSON, kept as they are
-- returns: {"granted", now, backend, loaded before, remaining, reset_us} | {"queued", now, position, "", remaining, reset_us}
--          | {"epoch", now, epoch} | {"options", now} | {"seed", now, measure, window, start_s, ...} | {"rate"|"quota", now, retry_us, which}
--          | {"outstanding"|"busy", now, outstanding, retry_us (0: not known)} | {"generation", now}; all but the first two take nothing
-- oracle: tests/support/memory_jobs.py (MemoryJobs.enter)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local known = redis.call('MGET', KEYS[1], P .. 'epoch', P .. 'caution', P .. 'options_version:' .. a.key, P .. 'lease')

-- (1) A store that lost its data, or keys or options that changed since they were looked up: the process must look first.
if not known[1] then return {'generation', text(now)} end
if known[2] ~= a.epoch then return refuse({'epoch', text(now), known[2] or ''}) end
if type(a.options) == 'string' and (known[4] or '') ~= a.options then return refuse({'options', text(now)}) end

-- (2) Rate: GCRA. A call fits when the theoretical arrival time after it is at most a burst ahead of now.
local arrivals, remaining, reset = {}, -1, 0
for i, rate in ipairs(a.rates) do
  local tat = tonumber(redis.call('GET', P .. 'rate:' .. rate.id) or '0')
  local after = math.max(tat, now) + rate.interval_us
  local early = after - rate.burst * rate.interval_us - now
  if early > 0 then return refuse({'rate', text(now), text(early), rate.id}) end
  arrivals[i] = after
  local left = math.floor(-early / rate.interval_us)
  if remaining < 0 or left < remaining then remaining, reset = left, after - now end
end

-- (3) Quotas: calendar windows in UTC. One that is not counted yet is asked of the ledger first.
local function month_of(day)  -- days since 1970 -> first day of that month, first day of the next
  local z = day + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local first = day - (doy - math.floor((153 * mp + 2) / 5))
  local year = yoe + era * 400
  local next_mp = mp + 1
  if next_mp == 12 then next_mp = 0; year = year + 1 end
  local next_doy = math.floor((153 * next_mp + 2) / 5)
  local e = math.floor(year / 400)
  local y = year - e * 400
  return first, e * 146097 + y * 365 + math.floor(y / 4) - math.floor(y / 100) + next_doy - 719468
end

-- What jobs that were put back into a store that lost its data have reserved of a window: no ledger knows of them yet.
local function put_back(tenant, key)
  local reserved = 0
  for _, job in ipairs(redis.call('SMEMBERS', P .. 'out:' .. tenant)) do
    for _, quota in ipairs(cjson.decode(redis.call('HGET', P .. 'job:' .. job, 'quota') or '[]')) do
      if quota.key == key then reserved = reserved + tonumber(quota.amount) end
    end
  end
  return reserved
end

local today = math.floor(now / 86400000000)
local reservations, missing = {}, {'seed', text(now)}
for i, quota in ipairs(a.quotas) do
  local first, last = today, today + 1
  if quota.window == 'month' then first, last = month_of(today) end
  local key = P .. 'quota:' .. a.tenant .. ':' .. quota.measure .. ':' .. quota.window .. ':' .. text(first)
  local used = redis.call('GET', key)
  -- A seed counts only if this job was asked for this very window's: asked before midnight it may come after.
  if not used and quota.seed and redis.call('DEL', key .. ':' .. a.job) == 1 then
    used = text(quota.seed + put_back(a.tenant, key))
    redis.call('SET', key, used, 'PX', text((last - today + 1) * DAY_MS))
  end
  if not used then
    redis.call('SET', key .. ':' .. a.job, '', 'PX', 60000)
    table.insert(missing, quota.measure)
    table.insert(missing, quota.window)
    table.insert(missing, text(first * 86400))
  elseif tonumber(used) + quota.amount > quota.limit then
    return refuse({'quota', text(now), text(last * 86400000000 - now), quota.measure .. ' a ' .. quota.window})
  else
    reservations[i] = {key = key, measure = quota.measure, amount = text(quota.amount)}
  end
end
if #missing > 2 then return refuse(missing) end

-- (4) Outstanding jobs, waiting and running together.
local outstanding = redis.call('SCARD', P .. 'out:' .. a.tenant)
if outstanding >= a.cap + a.max_queued then
  return refuse({'outstanding', text(now), text(outstanding), soonest(a.tenant)})
end
local backend, loaded = place(a.tenant, a.cap, a.checkpoint, a.backends, known[3], known[5])
if not backend and a.max_queued == 0 then
  return refuse({'busy', text(now), text(outstanding), redis.call('HGET', P .. 'outlook', 'c:' .. a.checkpoint) or '0'})
end

-- (5) Admitted: take everything.
redis.call('HINCRBY', P .. 'admitted', 'count', 1)
for i, rate in ipairs(a.rates) do
  redis.call('SET', P .. 'rate:' .. rate.id, text(arrivals[i]), 'PX', text(math.ceil((arrivals[i] - now) / 1000) + 1000))
end
for _, reservation in ipairs(reservations) do
  redis.call('INCRBY', reservation.key, reservation.amount)
end
local job = P .. 'job:' .. a.job
redis.call('HSET', job, 'tenant', a.tenant, 'proc', a.proc, 'state', 'w', 'checkpoint', a.checkpoint, 'cap', a.cap,
  'entered', text(now), 'static', ARGV[4], 'ticket', ARGV[5], 'key', a.key, 'task', a.task,
  unpack(#reservations > 0 and {'quota', cjson.encode(reservations)} or {}))
redis.call('PEXPIRE', job, KEEP_MS)
own(a.job, a.key, text(now))
add(P .. 'out:' .. a.tenant, a.job)
add(P .. 'held:' .. a.proc, a.job)
redis.call('ZADD', P .. 'procs', 'NX', text(now), a.proc)  -- one that dies before its next heartbeat is missed too
if backend then
  start(a.job, a.tenant, a.checkpoint, backend, loaded, RULE_0)
  return answer({'granted', text(now), backend, loaded, text(remaining), text(reset)})
end
redis.call('ZADD', P .. 'tickets', text(now), a.job)
redis.call('PEXPIRE', P .. 'tickets', KEEP_MS)
event('A', a.job)
nudge_dispatcher()
return answer({'queued', text(now), text(redis.call('ZRANK', P .. 'tickets', a.job) + 1), '', text(remaining), text(reset)})
