"""The Lua scripts: each is one atomic change, of one session or one claim.

They check first and write last, because Redis does not undo the writes of a script that fails. Out of memory, Redis
refuses the first write of `SAVE`; once that is done, it lets the rest pass.
"""

import hashlib
from dataclasses import dataclass, field

from app.store.keys import TRIMMED


@dataclass(frozen=True)
class Script:
    """A script, and the name by which Redis caches it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


SAVE = Script(
    """
-- KEYS: head, history, used keys, the mark that a claim's session was created, the pieces that the new head keeps, the
--       obsolete pieces
-- ARGV: 1 token of the save  2 version and 3 token that the store must hold, or two empty strings  4 head
--       5 number of the pieces that it keeps  6 ms to live; or empty: for ever; or -: for ever, and it was so before
--       7 forget after this step, or empty  8 step and 9 member of the history's row, or two empty strings
--       10 rows to keep  11 ms for the mark, or empty  12 now  13 keys used up to then may go  14 keys to keep
--       15 the most keys  16 ms to leave the obsolete pieces, or empty: none
--       17 step, 18 member and 19 new member of an undone step's row, 20 digest and 21 new row of its key; or empty
--       22 number of the pieces that must be there, the first ones: others are of earlier generations
--       23… the digest and the row of each key that is used up
local version, token = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^%S+ %S+ (%S+) (%S+)')
if token == ARGV[1] then return 'done' end
if (version or '') ~= ARGV[2] or (token or '') ~= ARGV[3] then return 'conflict' end
if ARGV[11] ~= '' and redis.call('EXISTS', KEYS[4]) == 1 then return 'created' end
local numbers
for i = 23, #ARGV, 2 do
  local found = redis.call('HMGET', KEYS[3], ARGV[i], 'numbers')
  if found[1] then return 'used' end
  numbers = found[2]
end
local last = 4 + tonumber(ARGV[5])
for i = 5, 4 + tonumber(ARGV[22]) do
  if redis.call('EXISTS', KEYS[i]) == 0 then return i - 5 end
end
redis.call('SET', KEYS[1], ARGV[4])
if ARGV[7] ~= '' then redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. ARGV[7], '+inf') end
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[2], ARGV[8], ARGV[9]) end
if ARGV[17] ~= '' and redis.call('ZREM', KEYS[2], ARGV[18]) == 1 then
  redis.call('ZADD', KEYS[2], ARGV[17], ARGV[19])
end
if ARGV[20] ~= '' and redis.call('HGET', KEYS[3], ARGV[20]) then redis.call('HSET', KEYS[3], ARGV[20], ARGV[21]) end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[10]))
if ARGV[11] ~= '' then redis.call('SET', KEYS[4], ARGV[12], 'PX', ARGV[11]) end
if #ARGV > 22 then
  local first, newest = string.match(numbers or '1 0', '^(%d+) (%d+)')
  for i = 23, #ARGV, 2 do
    newest = newest + 1
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1], newest, ARGV[12] .. ' ' .. ARGV[i],
               'numbers', first .. ' ' .. newest)
  end
  for _ = 1, TRIMMED do
    local followers = newest - first
    if followers < tonumber(ARGV[14]) then break end
    local used_at, digest = string.match(redis.call('HGET', KEYS[3], first) or '0 -', '^(%S+) (%S+)')
    if followers < tonumber(ARGV[15]) and tonumber(used_at) > tonumber(ARGV[13]) then break end
    redis.call('HDEL', KEYS[3], first, digest)
    first = first + 1
    redis.call('HSET', KEYS[3], 'numbers', first .. ' ' .. newest)
  end
end
for i = last + 1, #KEYS do
  if ARGV[16] == '' then redis.call('UNLINK', KEYS[i]) else redis.call('PEXPIRE', KEYS[i], ARGV[16]) end
end
for i = ARGV[6] == '-' and 5 or 1, last do
  if i == 4 then  -- the mark has a time of its own
  elseif ARGV[6] == '-' or ARGV[6] == '' then redis.call('PERSIST', KEYS[i])
  else redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
end
return 'done'
""".replace("TRIMMED", str(TRIMMED))
)

CLAIM = Script("""
-- KEYS: a tenant's claims    ARGV: 1 digest of the key  2 the claim, or empty: none  3 the claim that it may replace
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and held ~= ARGV[3] then return held end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return ARGV[2]
""")

UNLINK = Script("""
-- KEYS: head, then what to unlink    ARGV: how the head must begin, empty where there must be none
if redis.call('GETRANGE', KEYS[1], 0, 255) ~= ARGV[1] then return 'conflict' end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'done'
""")

FREE = Script("""
-- KEYS: head, its leftovers    ARGV: token of the head
local token = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^%S+ %S+ %S+ (%S+)')
if token ~= ARGV[1] then return 'conflict' end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'done'
""")
