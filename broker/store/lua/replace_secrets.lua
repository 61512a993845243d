-- Replaces the sealed secrets of a subscription: the model with its sealed headers, and its signing secrets.
-- Neither the version of the resource nor its revision changes.
-- KEYS     subscription hash
-- ARGV     model and signing secrets as they were read, model and signing secrets to store ('' for none), id
--          of the signing secrets ('' keeps it)
-- Returns  1, or 0 if one of them is not what was read any more: nothing is written
-- Repeat   yes; a call that was executed is answered with 1 again
local held = redis.call('HMGET', KEYS[1], 'model', 'signing_secrets')
local model, signing = held[1], held[2] or ''
local is_done = model == ARGV[3] and signing == ARGV[4]
if not is_done and (model ~= ARGV[1] or signing ~= ARGV[2]) then return 0 end
-- also for a repeated call, so that its caller waits for the disk
redis.call('HSET', KEYS[1], 'model', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'signing_secrets', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'secrets_id', ARGV[5]) end
return 1
