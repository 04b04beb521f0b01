"""The two scripts that Redis runs, and nothing else does: each is one atomic change of one session.

They check first and write last: Redis does not take back what a script wrote before it failed. The first write of
`SAVE` is the one that Redis refuses when it is out of memory; after it, the rest is let through.
"""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Script:
    """A script, and the name by which Redis remembers it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


SAVE = Script("""
-- KEYS: head, history, the pieces of the new head, the obsolete pieces
-- ARGV: 1 token of the save  2 version and 3 token that the store must hold, or two empty strings  4 head
--       5 number of the new head's pieces  6 ms to live, or empty  7 forget after this step, or empty
--       8 step and 9 member of the history's row, or two empty strings  10 rows to keep
local version, token = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^%S+ %S+ (%S+) (%S+)')
if token == ARGV[1] then return 'done' end
if (version or '') ~= ARGV[2] or (token or '') ~= ARGV[3] then return 'conflict' end
local last = 2 + tonumber(ARGV[5])
for i = 3, last do
  if redis.call('EXISTS', KEYS[i]) == 0 then return i - 3 end
end
redis.call('SET', KEYS[1], ARGV[4])
if ARGV[7] ~= '' then redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. ARGV[7], '+inf') end
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[2], ARGV[8], ARGV[9]) end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[10]))
for i = last + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
for i = 1, last do
  if ARGV[6] == '' then redis.call('PERSIST', KEYS[i]) else redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
end
return 'done'
""")

UNLINK = Script("""
-- KEYS: head, then what to unlink    ARGV: how the head must begin, empty where there must be none
if redis.call('GETRANGE', KEYS[1], 0, 255) ~= ARGV[1] then return 'conflict' end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'done'
""")
