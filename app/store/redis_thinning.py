"""The thinning of a session's history in Redis: the functions of a script, in Lua."""

from app.store.thinning import LOOKS, MOST_DOUBLINGS, NOTABLE, NOTABLE_SHARE

_IS_NOTABLE = " or ".join(f"string.find(member, '{mark.decode()}', 33, true)" for mark in NOTABLE)
_VALUES = {
    "LOOKS": LOOKS,
    "MOST_DOUBLINGS": MOST_DOUBLINGS,
    "NOTABLE_SHARE": NOTABLE_SHARE,
    "IS_NOTABLE": _IS_NOTABLE,
}


def _filled(script: str) -> str:
    for name, value in _VALUES.items():
        script = script.replace(name, str(value))
    return script


THINNING = _filled("""
local function member_at(history, rank) return redis.call('ZRANGE', history, rank, rank)[1] end
local function thinning(text)  -- the numbers of `thinning.Thinning`
  local doublings, older, hand, left, notable = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return tonumber(doublings), tonumber(older), tonumber(hand), tonumber(left), tonumber(notable)
end
local function forget(history, thinned)
  local text = redis.call('GET', thinned)
  if text then
    local doublings, older = thinning(text)
    if older > 0 and not member_at(history, older - 1) then redis.call('SET', thinned, doublings .. ' 0 0 0 0') end
  end
end
local function thin(history, thinned, limit)  -- as `thinning.Thinning.thin` does
  if not member_at(history, limit) then return end
  local doublings, older, hand, left, notable = thinning(redis.call('GET', thinned) or '1 0 0 0 0')
  local looks, removed = 0, 0
  while member_at(history, limit) and (looks < LOOKS or removed == 0) do
    looks = looks + 1
    local at_edge = member_at(history, older + limit - math.floor(limit / 2))
    if not at_edge then
      if left == 0 then doublings, hand, left = math.min(doublings + 1, MOST_DOUBLINGS), 0, older end
      left = left - 1
    end
    local rank = at_edge and older or hand
    local member = member_at(history, rank)
    local is_notable = (IS_NOTABLE) and 1 or 0
    local few = notable + (at_edge and 1 or 0) <= math.floor(limit / NOTABLE_SHARE)
    local stays = tonumber(string.sub(member, 1, 16)) % 2 ^ doublings == 0 or (is_notable == 1 and few)
    if (stays and looks < LOOKS) or (limit > 1 and rank == 0) then
      if at_edge then older, notable = older + 1, notable + is_notable else hand = hand + 1 end
    else
      redis.call('ZREMRANGEBYRANK', history, rank, rank)
      removed = removed + 1
      if not at_edge then older, notable = older - 1, math.max(0, notable - is_notable) end
    end
  end
  redis.call('SET', thinned, string.format('%d %d %d %d %d', doublings, older, hand, left, notable))
end
""")
