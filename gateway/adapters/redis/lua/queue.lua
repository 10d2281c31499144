-- purpose: the whole queue for a person's eyes, at one moment: who waits, and what every backend does.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, nothing is changed
-- returns: {"queue", now, waiting, slots, loaded, states, outlook}: waiting is a flat list of job, entered, ticket in order of entry,
--          the others flat lists of name, value
-- oracle: tests/support/memory_jobs.py (MemoryJobs.queue)

local waiting = {}
for _, job in ipairs(redis.call('ZRANGE', P .. 'tickets', 0, -1)) do
  local values = redis.call('HMGET', P .. 'job:' .. job, 'entered', 'ticket')
  if values[1] and values[2] then
    table.insert(waiting, job)
    table.insert(waiting, values[1])
    table.insert(waiting, values[2])
  end
end
return {'queue', text(now), waiting,
  redis.call('HGETALL', P .. 'slot'), redis.call('HGETALL', P .. 'loaded'), redis.call('HGETALL', P .. 'bstate'),
  redis.call('HGETALL', P .. 'outlook')}
