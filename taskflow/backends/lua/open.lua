-- Takes the prefix for layout ARGV[1] if nobody has. Returns the layout's number, then each key that is of
-- another type than ours would be, and that type.

local types = {
  all = 'zset', ended = 'zset', leases = 'zset', declared = 'zset', held = 'hash', totals = 'hash',
  version = 'string', incarnation = 'string'
}

local foreign = {}
for name, expected in pairs(types) do
  local found = redis.call('TYPE', prefix .. name).ok
  if found ~= expected and found ~= 'none' then
    foreign[#foreign + 1] = prefix .. name
    foreign[#foreign + 1] = found
  end
end
if #foreign > 0 then
  return {false, unpack(foreign)}
end
redis.call('SET', prefix .. 'version', ARGV[1], 'NX')
return {redis.call('GET', prefix .. 'version')}
