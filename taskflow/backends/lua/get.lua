-- ARGV[1]: id.

return as_json({ARGV[1]})
