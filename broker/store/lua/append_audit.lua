-- Appends entries of the audit trail that belong to no other script.
-- KEYS     journal of the tenant's own slot | marker of this batch
-- ARGV     entries (msgpack array), how long a repeated call is recognised (ms)
-- Returns  1
-- Repeat   yes; the marker shows that the entries are there
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then
  redis.call('XADD', KEYS[1], '*', 'entries', ARGV[1])
end
return 1
