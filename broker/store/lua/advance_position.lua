-- Records that the changes of a partition are matched up to a position.
-- KEYS     matching hash of the partition
-- ARGV     lease token, position it is moved from, id of the last change that is matched, how many they are
-- Returns  1; -1 if a newer matcher holds the partition, 0 if the position is another one (the store was
--          rolled back): nothing was written
-- Repeat   yes
return math.min(1, move_position(KEYS[1], unpack(ARGV)))
