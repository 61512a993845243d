-- Discards dead letters of a stream: changes, or refused inbox entries.
-- KEYS     dead letters of the tenant | counters of the partition or inbox
-- ARGV     entry ids
-- Returns  how many there were
-- Repeat   yes
local discarded = redis.call('XDEL', KEYS[1], unpack(ARGV))
count(KEYS[2], 'dead_letters', -discarded)
count(KEYS[2], 'dead_letters_discarded', discarded)
return discarded
