# The shell client of Optim Service: an optimizer over HTTP, every step durable and applied exactly once.
#
# A POSIX shell sources it: `. optim.sh`. It needs curl 7.55 and jq 1.6. Each function prints the service's answer as JSON
# and returns 0. It returns 1 if the service refused, 2 if no answer came in the time for retries, 3 if nothing was sent.
# Then it prints {"status", "code", "detail", "members", "request_id"}, and a line on standard error.
# shellcheck shell=sh

optim_base_url=${OPTIM_BASE_URL:-http://127.0.0.1:8000}
optim_api_key=${OPTIM_API_KEY:-}
optim_retry_seconds=120 # since a call first failed; inf for ever
optim_max_retries=inf
optim_timeout=60 # seconds without progress

_optim_folder=$(mktemp -d)
: >"$_optim_folder/shown"
trap optim_clean EXIT

# Removes the temporary folder. The trap on EXIT calls it: call it in yours if you set one.
optim_clean() { rm -rf "$_optim_folder"; }

# ---- Sessions. SETTINGS and CHANGES are JSON, as docs/api.md says. ----

optim_create() { _optim_json POST /v1/sessions "$1"; }                     # SETTINGS
optim_create_from_state() { _optim_file POST /v1/sessions "$1"; }          # FILE
optim_get() { optim_call GET "/v1/sessions/$1"; }                          # ID
optim_update() { _optim_json PATCH "/v1/sessions/$1" "$2"; }               # ID CHANGES
optim_fork() { _optim_json POST "/v1/sessions/$1/fork" "${2:-{\}}"; }      # ID [SETTINGS]
optim_undo() { _optim_json POST "/v1/sessions/$1/undo" "{\"step\": $2}"; } # ID STEP
optim_delete() { optim_call DELETE "/v1/sessions/$1"; }                    # ID

# Takes step STEP: ID STEP PARAMS GRADS [OPTIONS]. PARAMS and GRADS are objects of tensors; PARAMS is '' for a session
# that holds its parameters. OPTIONS is an object, such as {"loss": 0.5, "lr": 0.01}.
optim_step() (
    body=$(printf '%s\n' "${3:-null}" "$4" "${5:-{\}}" | jq -cn --argjson step "$2" "$_optim_body") || exit 3
    _optim_json POST "/v1/sessions/$1/steps" "$body"
)

_optim_body='[inputs] as [$params, $grads, $options]
    | {step: $step, grads: $grads} + (if $params == null then {} else {params: $params} end) + $options'

optim_params() { optim_call GET "/v1/sessions/$1/params${2:+?view=$2}"; }                 # ID [VIEW]
optim_put_params() { _optim_json PUT "/v1/sessions/$1/params" "{\"params\": $2}"; }       # ID PARAMS
optim_save_state() {                                                                      # ID FILE
    _optim_perform GET "/v1/sessions/$1/state" '' '' "$2.part" && mv "$2.part" "$2"
}
optim_load_state() { _optim_file PUT "/v1/sessions/$1/state" "$2"; }                      # ID FILE

# Makes any other call: METHOD PATH [BODY], with a body of JSON.
optim_call() { if [ $# -gt 2 ]; then _optim_json "$@"; else _optim_perform "$1" "$2" '' '' ''; fi; }

# Prints the HTTP status of the last answer.
optim_status() { cat "$_optim_folder/status"; }

# ---- Calls: METHOD PATH, then the body. ----

_optim_json() (
    body=$(mktemp "$_optim_folder/body.XXXXXX") || exit 3
    printf '%s' "$3" >"$body" || exit 3
    status=0
    _optim_perform "$1" "$2" application/json "$body" '' || status=$?
    rm -f "$body"
    exit "$status"
)

_optim_file() { _optim_perform "$1" "$2" application/vnd.safetensors "$3" ''; }

# Makes a call with every try that it needs: METHOD PATH MEDIA_TYPE BODY_FILE OUT. The answer goes to the file OUT, or is
# printed if that is ''.
_optim_perform() (
    at=$(mktemp -d "$_optim_folder/call.XXXXXX") || exit 3
    name=optim-sh-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    tries=1 failed=0
    while :; do
        _optim_exchange "$@"
        end=0
        ! _optim_is_success || break
        [ $tries -gt 1 ] || failed=$(_optim_now)
        _optim_judge "$1" >"$at/verdict" || exit 3
        read -r end pause <"$at/verdict"
        case $end in again) ;; *) break ;; esac
        [ $tries -gt 1 ] || _optim_say "$1 $2: $(jq -r .detail "$at/error"); trying again"
        _optim_sleep "$pause"
        tries=$((tries + 1))
    done
    if [ "$end" = 0 ]; then
        [ $tries -eq 1 ] || _optim_say "$1 $2: answered at try $tries"
        case $code in
        2*) if [ -z "$5" ]; then _optim_show_warnings && cat "$at/answer"; else mv "$at/answer" "$5"; fi || end=3 ;;
        esac # a deletion that found nothing has nothing to say
    else
        _optim_say "$(jq -r "$_optim_line" "$at/error")"
        cat "$at/error"
    fi
    rm -rf "$at"
    exit "$end"
)

# Makes one try. Keeps the exit status of curl in `curl`, and the answer's in `code`.
_optim_exchange() {
    : >"$at/headers" && : >"$at/answer"
    curl=0
    code=$({
        printf 'X-Request-ID: %s-%s\nExpect:\n' "$name" "$tries"
        [ "$1" = GET ] || printf 'Idempotency-Key: "%s"\n' "$name"
        [ -z "$3" ] || printf 'Content-Type: %s\n' "$3"
        [ -z "$optim_api_key" ] || printf 'Authorization: Bearer %s\n' "$optim_api_key"
    } | curl -q --silent --show-error --globoff --request "$1" --header @- ${4:+--upload-file "$4"} --proto =http,https \
        --connect-timeout 5 --speed-limit 1 --speed-time "$optim_timeout" --dump-header "$at/headers" \
        --suppress-connect-headers --output "$at/answer" --write-out '%{http_code}' "${optim_base_url%/}$2" 2>"$at/said") || curl=$?
    printf '%s' "$code" >"$_optim_folder/status"
}

# Returns whether this is a successful answer to this try.
_optim_is_success() {
    case $curl$code in 02??) ;; *) return 1 ;; esac
    ! grep -qi '^content-type: *text/html' "$at/headers" || return 1
    grep -qi "^x-request-id: $name-$tries[^0-9]" "$at/headers" || ! grep -qi '^x-request-id: optim-sh-' "$at/headers"
}

# Prints the end of the call and the pause before the next try; an error goes to the file `error`.
_optim_judge() {
    case $code in 2*) problem=/dev/null ;; *) problem=$at/answer ;; esac
    jq -rn --arg curl "$curl" --arg code "$code" --rawfile headers "$at/headers" --rawfile answer "$problem" \
        --rawfile said "$at/said" --arg method "$1" --arg id "$name-$tries" --argjson tries "$tries" \
        --arg seconds "$optim_retry_seconds" --arg retries "$optim_max_retries" --argjson now "$(_optim_now)" \
        --argjson failed "$failed" --argjson chance "$(_optim_chance)" "$_optim_rules" >"$at/rules" || return
    sed 1d "$at/rules" >"$at/error"
    sed -n 1p "$at/rules"
}

# The rules of retries, as clients/README.md has them. The first line of the output is the end (0, 1, 2 or 3), or `again`
# and the pause; the second is the error.
_optim_rules='
def limit: if . == "inf" then infinite else tonumber end;
def date: try (strptime("%a, %d %b %Y %H:%M:%S GMT") | mktime) catch null;
($headers | rtrimstr("\r\n\r\n") | split("\r\n\r\n") | last // "" | split("\r\n") | map(capture("^(?<name>[^:]+):[ \t]*(?<value>.*?)[ \t]*$")?)
   | map({(.name | ascii_downcase): .value}) | add // {}) as $headers
| (($headers["x-request-id"] // "") | startswith("optim-sh-") and . != $id) as $foreign
| ($curl == "0" and ($foreign | not)) as $answered
| (if $answered then $code | tonumber else 0 end) as $status
| (($headers["content-type"] // "") | test("^text/html"; "i")) as $page
| ($answer | try fromjson catch null | if type == "object" then . else {} end) as $problem
| (if $problem.code | type == "string" then $problem.code else null end) as $problem_code
| (if $answered then
     {status: $status, code: $problem_code,
      detail: (if ($problem.detail | type) == "string" and $problem.detail != "" then $problem.detail
               elif $page and $status < 300 then "a page came, which is no answer of the service"
               else "something else than the service answered with status \($status)"
                 + (if $headers.location then ", a redirect, which a client does not follow, to \($headers.location)" else "" end)
               end),
      members: ($problem | del(.type, .title, .status, .detail, .code)), request_id: $headers["x-request-id"]}
   else
     {status: null, code: null, members: {}, request_id: null,
      detail: (if $foreign then "the answer was to another request" else "no answer (\($said | rtrimstr("\n")))" end)}
   end) as $error
| (($curl | IN("2", "3", "23", "26", "27")) or ($curl == "1" and ($said | contains("HTTP/0.9") | not))) as $unsendable
| (if $answered | not then ($unsendable or ($curl | IN("35", "51", "58", "60", "77", "83"))) | not
   elif $headers["x-should-retry"] | IN("true", "false") then $headers["x-should-retry"] == "true"
   elif $status == 409 then $problem_code == "session_busy"
   else $status == 408 or $status == 429 or ($status >= 500 and $status != 501 and $status != 505) end) as $passing
| (($seconds | limit) - ($now - $failed)) as $left
| ([0.5 * pow(2; [$tries - 1, 16] | min), 4] | min | . * (1 - 0.5 * $chance)) as $wait
| (($headers["retry-after"] // "") as $said
   | if $answered | not then null
     elif $said | test("^[0-9]+$") then $said | tonumber
     else ($said | date) as $until | (($headers.date // "") | date) as $date
       | if $until and $date then [0, $until - $date] | max else null end
     end) as $asked
| (if ($passing | not) or $left <= 0 or $tries > ($retries | limit) then null
   elif $asked == null then [$wait, $left] | min
   elif $asked > (if $left | isinfinite then 120 else $left end) then null
   elif $tries == 1 then $asked
   else [[$asked, $wait] | max, $left] | min end) as $pause
| if ($status >= 200 and $status < 300 and ($page | not)) or ($method == "DELETE" and $status == 404 and $tries > 1) then "0 0"
  elif $pause != null then "again \($pause)"
  elif $answered then "1 0" elif $unsendable then "3 0" else "2 0" end
, ($error | tojson)'

_optim_line='.detail + (if .status then " (" + ([.status, .code, (.request_id | values | "request " + .)] | map(values | tostring)
    | join(", ")) + ")" else "" end)'

# Prints each new line of an answer's warnings on standard error.
_optim_show_warnings() {
    ! grep -q '"warnings"' "$at/answer" || jq -r '(.warnings? // []) | .[] | tostring | gsub("\n"; " ")' "$at/answer" 2>/dev/null | while IFS= read -r line; do
        grep -qxF -e "$line" "$_optim_folder/shown" || {
            printf '%s\n' "$line" >>"$_optim_folder/shown"
            _optim_say "$line"
        }
    done
}

_optim_say() { printf 'optim: %s\n' "$1" >&2; }

# ---- The clock and chance: a program may define its own after sourcing. ----

_optim_now() { date +%s; }
_optim_sleep() { sleep "$1"; }
_optim_chance() { od -An -N2 -tu2 /dev/urandom | awk '{ print $1 / 65536 }'; }
