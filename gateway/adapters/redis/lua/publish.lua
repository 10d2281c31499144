-- purpose: the watcher says what it found: states, checkpoints, inventories, backends that are quiet again or gone.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {states{backend: state}, conditions{backend: its condition as JSON}, loaded{backend: checkpoint},
--          quiet{backend: the slot's mark}, removed[backend]}: a state without a condition ends the one before
-- ARGV[4..]: backend, inventory as JSON, in pairs
-- returns: {"published", now, catalogue version}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.publish)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local has_states = #a.removed > 0
for backend, state in pairs(a.states) do
  redis.call('HSET', P .. 'bstate', backend, state)
  if a.conditions[backend] then
    redis.call('HSET', P .. 'bcondition', backend, a.conditions[backend])
  else
    redis.call('HDEL', P .. 'bcondition', backend)
  end
  has_states = true
end
if has_states then redis.call('INCR', P .. 'states_version') end
-- Only a slot that nobody holds can fall quiet: one whose job runs is given back by that job.
for backend, mark in pairs(a.quiet) do
  if string.sub(mark, 1, 2) == '! ' and redis.call('HGET', P .. 'slot', backend) == mark then redis.call('HDEL', P .. 'slot', backend) end
end
-- While a job holds the slot its holder knows better what is loaded there.
for backend, checkpoint in pairs(a.loaded) do
  if redis.call('HEXISTS', P .. 'slot', backend) == 0 then set_loaded(backend, checkpoint) end
end
for _, backend in ipairs(a.removed) do
  for _, name in ipairs({'bstate', 'bcondition', 'loaded', 'catalogue'}) do redis.call('HDEL', P .. name, backend) end
  -- Nobody will see it quiet again; a job that runs there gives the slot back itself.
  if string.sub(redis.call('HGET', P .. 'slot', backend) or '', 1, 2) == '! ' then
    redis.call('HDEL', P .. 'slot', backend)
  end
end
for i = 4, #ARGV, 2 do redis.call('HSET', P .. 'catalogue', ARGV[i], ARGV[i + 1]) end
if #ARGV > 3 or #a.removed > 0 then redis.call('INCR', P .. 'catalogue_version') end
if redis.call('ZCARD', P .. 'tickets') > 0 then nudge_dispatcher() end
return answer({'published', text(now), redis.call('GET', P .. 'catalogue_version') or ''})
