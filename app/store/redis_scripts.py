"""The Lua scripts: each is one atomic change, of one session or one claim.

They check first and write last, because Redis does not undo the writes of a script that fails. Out of memory, Redis
refuses the first write of `SAVE`; once that is done, it lets the rest pass. A cluster refuses to touch a key that has
moved to another server: so a script has all its keys in `KEYS`, or reads the others before it writes.
"""

import hashlib
from dataclasses import dataclass, field

from app.store.history import MOST_MARKS
from app.store.keys import TRIMMED
from app.store.redis_thinning import THINNING


@dataclass(frozen=True)
class Script:
    """A script, and the name by which Redis caches it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


_FUNCTIONS = """
local function label(key)  -- the version and the token of a head or a ledger
  return string.match(redis.call('GETRANGE', key, 0, 255), '^%S+ %S+ (%S+) (%S+)')
end
local function replace(history, step, place, member)  -- the row at that place, if there is one
  for _, found in ipairs(redis.call('ZRANGEBYSCORE', history, step, step)) do
    if string.sub(found, 1, 32) == place then
      redis.call('ZREM', history, found)
      redis.call('ZADD', history, step, member)
    end
  end
end
local function keep(key, left)  -- for the milliseconds that the head has left
  if left == -1 then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, math.max(left, 0)) end
end
"""

_HEAD_CHECKS = """
-- KEYS: head, history, used keys, the mark that a claim's session was created, the history's marks, how far it is
--       thinned, the pieces that the new head keeps, the obsolete pieces
-- ARGV: 1 token of the save  2 version and 3 token that the store must hold, or two empty strings  4 head
--       5 number of the pieces that it keeps  6 ms to live; or empty: for ever; or -: for ever, and it was so before
--       7 forget after this step, or empty  8 step and 9 member of the history's row, or two empty strings
--       10 rows to keep  11 ms for the mark, or empty  12 now  13 keys used up to then may go  14 keys to keep
--       15 the most keys  16 ms to leave the obsolete pieces, or empty: none
--       17 step, 18 place and 19 new member of an undone step's row, 20 digest and 21 new row of its key; or empty
--       22 number of the pieces that must be there, the first ones: others are of earlier generations
--       23 number and 24 member of the history's mark, or two empty strings
--       25… the digest and the row of each key that is used up
local version, token = label(KEYS[1])
if token == ARGV[1] then return 'done' end
if (version or '') ~= ARGV[2] or (token or '') ~= ARGV[3] then return 'conflict' end
if ARGV[11] ~= '' and redis.call('EXISTS', KEYS[4]) == 1 then return 'created' end
local numbers
for i = 25, #ARGV, 2 do
  local found = redis.call('HMGET', KEYS[3], ARGV[i], 'numbers')
  if found[1] then return 'used' end
  numbers = found[2]
end
local last = 6 + tonumber(ARGV[5])
for i = 7, 6 + tonumber(ARGV[22]) do
  if redis.call('EXISTS', KEYS[i]) == 0 then return i - 7 end
end
"""
_LEDGER_READ = """
local with_head = {}  -- outline, ledger and its pieces: if the time to live may be another one now, they have it too
if ARGV[6] ~= '-' then
  local own = string.sub(KEYS[1], 1, -5)  -- the names of the session's keys, up to "head"
  with_head[1] = own .. 'outline'
  local ledger = redis.call('GET', own .. 'ledger')
  if ledger then
    with_head[2] = own .. 'ledger'
    pcall(function()  -- the pieces of a damaged one go their own way
      for _, piece in ipairs(cjson.decode(string.match(ledger, '\\n([^\\n]*)')).pieces) do
        with_head[#with_head + 1] = own .. 'piece:' .. piece[1]
      end
    end)
  end
  for _, key in ipairs(with_head) do redis.call('EXISTS', key) end  -- if a key has moved away, the script ends here
end
"""
_HEAD_WRITES = """
redis.call('SET', KEYS[1], ARGV[4])
if ARGV[7] ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. ARGV[7], '+inf')
  forget(KEYS[2], KEYS[6])
end
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[2], ARGV[8], ARGV[9]) end
if ARGV[17] ~= '' then replace(KEYS[2], ARGV[17], ARGV[18], ARGV[19]) end
if ARGV[20] ~= '' and redis.call('HGET', KEYS[3], ARGV[20]) then redis.call('HSET', KEYS[3], ARGV[20], ARGV[21]) end
thin(KEYS[2], KEYS[6], tonumber(ARGV[10]))
if ARGV[23] ~= '' then
  redis.call('ZADD', KEYS[5], ARGV[23], ARGV[24])
  redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -1 - MOST_MARKS)
end
if ARGV[11] ~= '' then redis.call('SET', KEYS[4], ARGV[12], 'PX', ARGV[11]) end
if #ARGV > 24 then
  local first, newest = string.match(numbers or '1 0', '^(%d+) (%d+)')
  for i = 25, #ARGV, 2 do
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
for i = ARGV[6] == '-' and 7 or 1, last do
  if i == 4 then  -- the mark has a time of its own
  elseif ARGV[6] == '-' or ARGV[6] == '' then redis.call('PERSIST', KEYS[i])
  else redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
end
""".replace("TRIMMED", str(TRIMMED)).replace("MOST_MARKS", str(MOST_MARKS))

_LEDGER_KEPT = """
for _, key in ipairs(with_head) do keep(key, redis.call('PTTL', KEYS[1])) end
"""

_LEDGER_CHECKS = """
-- ledger_keys: 1 head  2 ledger  3 history  4… its new pieces, then its obsolete ones
-- ledger_values: 1 token of the save  2 version and 3 token that the store must hold, or two empty strings  4 ledger
--                5 number of its new pieces  6… step, place and new member of each row of the history to replace
local last_new = 3 + tonumber(ledger_values[5])
local held_version, held_token = label(ledger_keys[2])
if ledger_values[2] == '' and redis.call('EXISTS', ledger_keys[2]) == 1 then return 'conflict' end
if (held_version or '') ~= ledger_values[2] or (held_token or '') ~= ledger_values[3] then return 'conflict' end
for i = 4, last_new do
  if redis.call('EXISTS', ledger_keys[i]) == 0 then return 'lost' end
end
"""
_LEDGER_WRITES = """
redis.call('SET', ledger_keys[2], ledger_values[4])
for i = 6, #ledger_values, 3 do
  replace(ledger_keys[3], ledger_values[i], ledger_values[i + 1], ledger_values[i + 2])
end
for i = last_new + 1, #ledger_keys do redis.call('UNLINK', ledger_keys[i]) end
local left = redis.call('PTTL', ledger_keys[1])
keep(ledger_keys[2], left)
for i = 4, last_new do keep(ledger_keys[i], left) end
"""
_DONE = "return 'done'"

SAVE = Script(_FUNCTIONS + THINNING + _HEAD_CHECKS + _LEDGER_READ + _HEAD_WRITES + _LEDGER_KEPT + _DONE)

SAVE_LEDGER = Script(
    _FUNCTIONS
    + """
local ledger_keys, ledger_values = KEYS, ARGV
local _, token = label(KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return 'conflict' end
if token == ARGV[1] then return 'done' end
"""
    + _LEDGER_CHECKS
    + _LEDGER_WRITES
    + _DONE
)

SAVE_BOTH = Script(
    _FUNCTIONS
    + THINNING
    + """
-- KEYS, ARGV: those of the head, then those of the ledger    ARGV, at the end: the numbers of the latter
local function taken(list, count)  -- off the end of the list
  local last = {}
  for i = count, 1, -1 do last[i] = table.remove(list) end
  return last
end
local counts = taken(ARGV, 2)
local ledger_keys, ledger_values = taken(KEYS, tonumber(counts[1])), taken(ARGV, tonumber(counts[2]))
"""
    + _HEAD_CHECKS
    + _LEDGER_CHECKS
    + _LEDGER_READ
    + _HEAD_WRITES
    + _LEDGER_WRITES
    + _LEDGER_KEPT
    + _DONE
)

CLAIM = Script("""
-- KEYS: a tenant's claims    ARGV: 1 digest of the key  2 the claim, or empty: none  3 the claim that it may replace
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and held ~= ARGV[3] then return held end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return ARGV[2]
""")

NEWER = Script("""
-- KEYS: history    ARGV: 1 a version  2 the most steps that may be undone  3 how many members
-- Returns members from so many steps below the last one on whose version is not greater (`history.last_older`).
local function at(rank)  -- the step and the version of a member
  local member = redis.call('ZRANGE', KEYS[1], rank, rank)[1]
  if member then return tonumber(string.sub(member, 1, 16)), tonumber(string.sub(member, 17, 32)) end
end
local version, low, high = tonumber(ARGV[1]), -1, 0
local step, number = at(low)
while number and number > version do
  high, low = low, low * 2
  step, number = at(low)
end
while high - low > 1 do
  local middle = math.floor((low + high) / 2)
  local found, newer = at(middle)
  if not newer or newer <= version then low, step = middle, found else high = middle end
end
local least = step and string.format('%.0f', step - ARGV[2]) or '-inf'
return redis.call('ZRANGEBYSCORE', KEYS[1], least, '+inf', 'LIMIT', 0, ARGV[3])
""")

KEEP_OUTLINE = Script(
    _FUNCTIONS
    + """
-- KEYS: head, outline    ARGV: the outline
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 then
  redis.call('SET', KEYS[2], ARGV[1])
  keep(KEYS[2], left)
end
"""
)

UNLINK = Script("""
-- KEYS: heads and ledgers, then what to unlink    ARGV: how each of the former must begin, empty: there must be none
for i = 1, #ARGV do
  if redis.call('GETRANGE', KEYS[i], 0, 255) ~= ARGV[i] then return 'conflict' end
end
for i = #ARGV + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'done'
""")

SNAPSHOT = Script("""
-- KEYS: head, ledger, history, used keys, the history's marks, how far it is thinned
-- ARGV: 1 the most rows, and the most keys  2 the most bytes of pieces
local head = redis.call('GET', KEYS[1])
if not head then return false end
local ledger, numbers = redis.call('GET', KEYS[2]), redis.call('HGET', KEYS[4], 'numbers')
local own, names, size = string.sub(KEYS[1], 1, -5), {}, 0  -- the names of the session's keys, up to "head"
local function name(pieces)
  for _, piece in ipairs(pieces) do
    if piece ~= cjson.null and not names[piece[1]] then
      names[piece[1]], size = true, size + piece[2]
    end
  end
end
pcall(function()  -- one that cannot be read names nothing
  local about = cjson.decode(string.match(head, '\\n([^\\n]*)'))
  name(about.pieces)
  for _, earlier in ipairs(about.earlier or {}) do
    name({earlier[2]})
    name(earlier[3])
  end
end)
pcall(function() name(cjson.decode(string.match(ledger, '\\n([^\\n]*)')).pieces) end)
local pieces = size <= tonumber(ARGV[2]) and {}
if pieces then
  for piece in pairs(names) do
    pieces[#pieces + 1] = piece
    pieces[#pieces + 1] = redis.call('GET', own .. 'piece:' .. piece)
  end
end
local keys = {}
if numbers then
  local first, newest = string.match(numbers, '^(%d+) (%d+)')
  for i = math.max(first, newest - ARGV[1] + 1), newest do
    local used = redis.call('HGET', KEYS[4], string.format('%.0f', i))
    keys[#keys + 1] = used
    keys[#keys + 1] = used and redis.call('HGET', KEYS[4], string.match(used, ' (%S+)'))
  end
end
return {head, ledger, redis.call('ZRANGE', KEYS[3], -ARGV[1], -1), redis.call('GET', KEYS[6]),
        redis.call('ZRANGE', KEYS[5], 0, -1), numbers, keys, pieces}
""")

PUT_RESTORED = Script("""
-- KEYS: head, a key    ARGV: 1 ms to live  2 a command  3… its values after the key
if redis.call('EXISTS', KEYS[1]) == 1 then return end  -- sent twice, and here late: the session is complete
redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[2], ARGV[1])
""")

RESTORE = Script("""
-- KEYS: head, ledger, history, marks, what else the head needs
-- ARGV: 1 head  2 ledger, or empty: none  3 ms to live, or empty: for ever  4 number of rows  5 number of marks
if redis.call('EXISTS', KEYS[1]) == 1 then return 'there' end
for i = 5, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return 'lost' end
end
for i = 3, 4 do
  local last = ARGV[i + 1] - 1
  if redis.call('ZRANGE', KEYS[i], last + 1, last + 1)[1] then return 'other' end
  if last >= 0 and not redis.call('ZRANGE', KEYS[i], last, last)[1] then return 'other' end
end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
for _, key in ipairs(KEYS) do
  if ARGV[3] == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[3]) end
end
return 'done'
""")

FREE = Script("""
-- KEYS: head, its leftovers    ARGV: token of the head
local token = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^%S+ %S+ %S+ (%S+)')
if token ~= ARGV[1] then return 'conflict' end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'done'
""")
