-- purpose: carry out the dispatcher's decisions: each waiting job named gets the backend named, if that still holds.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: the process, which must hold the dispatcher's lease (this check is the fence)
-- ARGV[4..]: job, backend, why it goes there, in triples
-- returns: {"done", now, "granted"|"gone"|"taken"|"cap" for each of them} | {"deposed", now}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.grant)

local kept = first_answer()
if kept then return kept end
if dispatcher() ~= ARGV[3] then return answer({'deposed', text(now)}) end
local reply = {'done', text(now)}
local nobody_yet = is_cautious(redis.call('GET', P .. 'caution'))
for i = 4, #ARGV, 3 do
  local job, backend = ARGV[i], ARGV[i + 1]
  local fields = job_fields(job)
  local result
  if not fields or fields.state ~= 'w' or not redis.call('ZSCORE', P .. 'tickets', job) then
    result = 'gone'
  elseif nobody_yet or redis.call('HEXISTS', P .. 'slot', backend) == 1 or redis.call('HGET', P .. 'bstate', backend) ~= 'up' then
    result = 'taken'
  elseif redis.call('SCARD', P .. 'run:' .. fields.tenant) >= tonumber(fields.cap) then
    result = 'cap'
  else
    result = 'granted'
    local before = redis.call('HGET', P .. 'loaded', backend) or ''
    redis.call('ZREM', P .. 'tickets', job)
    start(job, fields.tenant, fields.checkpoint, backend, before, ARGV[i + 2])
    wake(fields.proc, cjson.encode({job, backend, text(now), before, ARGV[i + 2]}))
  end
  table.insert(reply, result)
end
return answer(reply)
