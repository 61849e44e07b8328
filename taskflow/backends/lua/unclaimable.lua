-- ARGV[1]: JSON array of names. Returns each name that is none of them and has rows that may be taken over, and how many.

local names, counts = set_of(ARGV[1]), {}
each_ownerless(function(lane, open)
  if lane ~= '' and not names[lane] then
    counts[#counts + 1] = lane
    counts[#counts + 1] = redis.call('ZCARD', open)
  end
end)
return counts
