-- purpose: what a key's outstanding jobs do; who holds them is told that somebody looks, and what the caller wishes.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude; the operation id is not used: a look may repeat, and so may a wish
-- ARGV[3]: JSON {key, process, preview, wish, task}: process is where somebody looks; task names the job that the wish is
--          for, by its own id or its caller's, or is "": then it is the oldest that runs, or else the oldest that waits
-- returns: {now, how many jobs of all keys wait, {job, task, process, entered, started, position, shown, foretold}, ...},
--          oldest first; position is 0 for a job that runs; foretold is its line of the forecast as JSON, or ""
-- oracle: tests/support/memory_own.py (MemoryOwn.look_at)

local LOOK_US = 1000000  -- each process is heard once in this time, for each job; of one that waits once in all
local MOST_JOBS = 100
local a = cjson.decode(ARGV[3])
local reply = {text(now), text(redis.call('ZCARD', P .. 'tickets'))}
local named, running, waiting
for _, job in ipairs(redis.call('ZRANGE', P .. 'own:' .. a.key, 0, MOST_JOBS - 1)) do
  local names = {'state', 'task', 'proc', 'entered', 'started', 'shown', 'asked:' .. a.process}
  local state, task, process, entered, started, shown, asked = unpack(redis.call('HMGET', P .. 'job:' .. job, unpack(names)))
  if state == 'w' or state == 'r' then
    local position = 0
    if state == 'w' then position = (redis.call('ZRANK', P .. 'tickets', job) or 0) + 1 end
    local foretold = state == 'w' and redis.call('HGET', P .. 'outlook', 'j:' .. job)
    table.insert(reply, {job, task or '', process, entered, started or '0', text(position), shown or '', foretold or ''})
    local it = {job = job, process = process}
    if a.task ~= '' and (a.task == job or a.task == task) then named = named or it end
    if state == 'r' then running = running or it else waiting = waiting or it end
    local is_due = not asked or (state == 'r' and now - tonumber(asked) >= LOOK_US)
    if process ~= a.process and is_due then
      redis.call('HSET', P .. 'job:' .. job, 'asked:' .. a.process, text(now))
      wake(process, cjson.encode({'look', job, a.process, a.preview}))
    end
  end
end
if a.wish ~= '' then
  local it = named
  if a.task == '' then it = running or waiting end
  if it then wake(it.process, cjson.encode({'wish', it.job, a.wish})) end
end
return reply
