-- purpose: what one more call of a tenant would meet now: the wait that was foretold, and what is left of its rate.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used, nothing is changed
-- ARGV[3]: the tenant; ARGV[4]: the checkpoint; ARGV[5]: the rate's id; ARGV[6], ARGV[7]: its interval_us and burst
-- returns: {"expected", now, wait_us or "" where nothing is foretold, microseconds until the tenant's first waiting job
--          starts or "0", calls that fit at once, microseconds until all of the burst is back}
-- oracle: tests/support/memory_own.py (MemoryOwn.expect)

local arrival = tonumber(redis.call('GET', P .. 'rate:' .. ARGV[5]) or '0')
local reset = math.max(0, arrival - now)
local left = math.floor((tonumber(ARGV[7]) * tonumber(ARGV[6]) - reset) / tonumber(ARGV[6]))
local waits = redis.call('HMGET', P .. 'outlook', 'c:' .. ARGV[4], 'other')
return {'expected', text(now), waits[1] or (ARGV[4] ~= '' and waits[2]) or '', soonest(ARGV[3]),
  text(math.max(0, left)), text(reset)}
