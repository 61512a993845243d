-- Removes quarantined readings that were stored as Observations after all.
-- KEYS     quarantine stream of the tenant | counters | hash of what is sealed
-- ARGV     entry ids
-- Returns  how many there were
-- Repeat   yes
local redriven = redis.call('XDEL', KEYS[1], unpack(ARGV))
redis.call('HDEL', KEYS[3], unpack(ARGV))
count(KEYS[2], 'dead_letters', -redriven)
count(KEYS[2], 'dead_letters_redriven', redriven)
return redriven
