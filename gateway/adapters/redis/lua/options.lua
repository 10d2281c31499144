-- purpose: change a key's virtual options: keep some, forget some, remember unknown ones while there are few.
-- KEYS[1]: "{namespace}:generation"
-- ARGV[1], ARGV[2]: see prelude
-- ARGV[3]: JSON {key, most, unless_shown, model}: most is how many options a key may have in all; unless_shown is a model's
--          name that cannot be found, or "", as JSON text: unless it is what the option named model says now, nothing changes
-- ARGV[4]: JSON {name: value as JSON text} to keep; ARGV[5]: the same, to remember; ARGV[6]: JSON [name] to forget
-- returns: {"kept", remembered name, ...} | {"refused"}
-- oracle: tests/support/memory_own.py (MemoryOwn.change_options)

local kept = first_answer()
if kept then return kept end
local a = cjson.decode(ARGV[3])
local key = P .. 'options:' .. a.key
if a.unless_shown ~= '' and redis.call('HGET', key, a.model) ~= a.unless_shown then return refuse({'refused'}) end
for _, name in ipairs(cjson.decode(ARGV[6])) do redis.call('HDEL', key, name) end
for name, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', key, name, value) end
local reply, names, values = {'kept'}, {}, cjson.decode(ARGV[5])
for name in pairs(values) do table.insert(names, name) end
table.sort(names)
for _, name in ipairs(names) do
  if redis.call('HEXISTS', key, name) == 1 or redis.call('HLEN', key) < a.most then
    redis.call('HSET', key, name, values[name])
    table.insert(reply, name)
  end
end
redis.call('PEXPIRE', key, 3 * KEEP_MS)
redis.call('SET', P .. 'options_version:' .. a.key, ARGV[2], 'PX', text(3 * KEEP_MS))
return answer(reply)
