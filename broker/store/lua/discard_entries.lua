-- Discards dead letters of a stream: changes, refused inbox entries, or quarantined readings.
-- KEYS     dead letters of the tenant | counters of the partition, inbox or quarantine | of readings only:
--          hash of what is sealed
-- ARGV     entry ids
-- Returns  how many there were
-- Repeat   yes
local discarded = redis.call('XDEL', KEYS[1], unpack(ARGV))
if KEYS[3] then redis.call('HDEL', KEYS[3], unpack(ARGV)) end
count(KEYS[2], 'dead_letters', -discarded)
count(KEYS[2], 'dead_letters_discarded', discarded)
return discarded
