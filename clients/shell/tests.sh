#!/bin/sh
# Tests of the shell client with a service at OPTIM_BASE_URL: what the prover does not reach.
set -eu
. ./optim.sh

field() { jq -r ".$1"; }
check() { [ "$1" = "$2" ] || { printf 'expected %s, got %s\n' "$2" "$1" >&2; exit 1; }; }

# A session that holds its parameters goes every road.
id=$(optim_create '{"optimizer": "sgd", "hold_params": true, "undo": 1}' | field id)
optim_put_params "$id" '{"w": [1, 2]}'
check "$(optim_step "$id" 1 '' '{"w": [0.5, -1]}' '{"lr": 0.125}' | jq -c .params.w)" '[0.9375,2.125]'
digest=$(optim_get "$id" | field digest)
copy=$(optim_fork "$id" | field id)
check "$(optim_get "$copy" | field digest)" "$digest"
optim_step "$id" 2 '' '{"w": [0.5, -1]}' >/dev/null
check "$(optim_undo "$id" 2 | field digest)" "$digest"
check "$(optim_params "$id" | jq -c .params.w)" '[0.9375,2.125]'
check "$(optim_update "$id" '{"hyperparameters": {"lr": 0.25}}' | field hyperparameters.lr)" 0.25
check "$(optim_call GET "/v1/sessions/$id/history?last=1" | field 'history[0].undone')" true

# A state file makes the session again.
optim_save_state "$copy" "$_optim_folder/state"
check "$(optim_create_from_state "$_optim_folder/state" | field digest)" "$digest"
optim_load_state "$copy" "$_optim_folder/state"
check "$(optim_get "$copy" | field digest)" "$digest"

if optim_save_state "$copy" /no/such/folder/state 2>/dev/null; then exit 1; else check $? 3; fi

# The address may end with a slash.
check "$(optim_base_url=$optim_base_url/ && optim_get "$copy" | field digest)" "$digest"

# A refusal has a status of 1, and its members; a deletion has no answer.
check "$(optim_delete "$copy")" ''
if problem=$(optim_get "$copy" 2>"$_optim_folder/said"); then exit 1; else check $? 1; fi
check "$(printf '%s' "$problem" | field code)" session_not_found
grep -q '^optim: .*(404, session_not_found, request ' "$_optim_folder/said"
if problem=$(optim_step "$id" 7 '' '{"w": [1, 1]}' 2>/dev/null); then exit 1; fi
check "$(printf '%s' "$problem" | jq -c .members)" '{"current_step":1}'

# A page for people, as of a portal to log in, is no answer.
if problem=$(optim_call GET /docs 2>/dev/null); then exit 1; else check $? 1; fi
check "$(printf '%s' "$problem" | field status)" 200

# No answer has a status of 2, a bad argument of 3.
optim_max_retries=0
if (optim_base_url=http://127.0.0.1:9 optim_get x >/dev/null 2>&1); then exit 1; else check $? 2; fi
if optim_step "$id" 2 '' '{"w": ' >/dev/null 2>&1; then exit 1; else check $? 3; fi
if optim_create_from_state /no/such/file >/dev/null 2>&1; then exit 1; else check $? 3; fi

# A warning is said once.
id=$(optim_create '{"optimizer": "adamw"}' | field id)
for step in 1 2 3; do optim_step "$id" $step '{"w": [5]}' '{"w": [1]}'; done >/dev/null 2>"$_optim_folder/said"
check "$(grep -c optim: "$_optim_folder/said")" 1

# The README's loop ends near the minimum.
sed -n '/^```sh/,/^```/{/^```/!p;}' README.md >"$_optim_folder/loop"
check "$(sh "$_optim_folder/loop" | jq -c '.w | map(round)')" '[1,-2]'
