-- purpose: publish the forecast of the queue, the whole of it in place of the one before.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used: what is foretold may be foretold again
-- ARGV[3]: the process, which must hold the dispatcher's lease; ARGV[4..]: the fields of P .. 'outlook' with their values
-- returns: {"foretold", now} | {"deposed", now}
-- oracle: tests/support/memory_jobs.py (MemoryJobs.foretell)

local WORDS_AT_ONCE = 2000
local FRESH_MS = 20000
if dispatcher() ~= ARGV[3] then return {'deposed', text(now)} end
local key = P .. 'outlook'
redis.call('DEL', key)
for first = 4, #ARGV, WORDS_AT_ONCE do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + WORDS_AT_ONCE - 1, #ARGV)))
end
if #ARGV >= 4 then redis.call('PEXPIRE', key, FRESH_MS) end
return {'foretold', text(now)}
