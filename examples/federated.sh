#!/bin/sh
# A worker of federated.py with curl, jq and awk: federated.sh SESSION WORKER FILE ROUNDS
#
# FILE has a digit on each line: 64 pixels from 0 to 16, and which one it is, with commas. In each round the worker takes 20
# steps of AdamW on it, 32 digits each, and contributes what they changed: the parameters from before, minus those after.
set -eu
here=$(dirname "$0")
. "$here/../clients/shell/optim.sh"
session=/v1/sessions/$1 worker=$2 file=$3 rounds=$4

own=$(mktemp -d) # the moments of AdamW, which stay here
trap 'rm -rf "$own"; optim_clean' EXIT
: >"$own/moments"

# Prints the loss and the changes as JSON. The numbers of the parameters come on lines, ten for each pixel and then the bias.
cat >"$own/local.awk" <<'AWK'
function row(k, j) { # ten numbers as a list
    for (j = 0; j < 10; j++) line = (j ? line "," : "[") sprintf("%.9g", begin[k + j] - p[k + j])
    return line "]"
}
function rows(k) { for (k = 0; k < 640; k += 10) all = (k ? all "," : "[") row(k); return all "]" }
BEGIN { FS = ","; n = count = 0; lr = 0.01; b1 = 0.9; b2 = 0.999 }
file == "params" { begin[n] = $1; p[n++] = $1 }
file == "moments" { if (FNR == 1) t = $1; else { m[FNR - 2] = $1; v[FNR - 2] = $2 } }
file == "data" { for (i = 0; i < 64; i++) x[count, i] = $(i + 1) / 16; label[count++] = $65 }
END {
    for (taken = 0; taken < 20; taken++) {
        for (k = 0; k < 650; k++) g[k] = 0
        for (loss = each = 0; each < 32; each++) {
            d = (t * 32 + each) % count
            for (j = 0; j < 10; j++) s[j] = p[640 + j]
            for (i = 0; i < 64; i++) if (x[d, i]) for (j = 0; j < 10; j++) s[j] += x[d, i] * p[i * 10 + j]
            for (sum = j = 0; j < 10; j++) sum += s[j] = exp(s[j])
            loss -= log(s[label[d]] / sum) / 32
            for (j = 0; j < 10; j++) g[640 + j] += s[j] = (s[j] / sum - (j == label[d])) / 32
            for (i = 0; i < 64; i++) if (x[d, i]) for (j = 0; j < 10; j++) g[i * 10 + j] += x[d, i] * s[j]
        }
        t++
        for (k = 0; k < 650; k++) {
            m[k] = b1 * m[k] + (1 - b1) * g[k]
            v[k] = b2 * v[k] + (1 - b2) * g[k] ^ 2
            p[k] -= lr * (0.01 * p[k] * (k < 640) + m[k] / (1 - b1 ^ t) / (sqrt(v[k] / (1 - b2 ^ t)) + 1e-8))
        }
    }
    print t >moments
    for (k = 0; k < 650; k++) printf "%.17g,%.17g\n", m[k], v[k] >moments
    printf "{\"loss\": %.9g, \"weight\": %d, \"grads\": {\"weight\": %s, \"bias\": %s}}\n", loss, count, rows(), row(640)
}
AWK

joined=$(optim_call PUT "$session/workers/$worker" '{}')
epoch=$(printf '%s' "$joined" | jq .epoch)
round=$(printf '%s' "$joined" | jq .round)
while [ "$round" -le "$rounds" ]; do
    params=$(optim_params "$1") # a call in a pipe could fail, and the script would go on
    printf '%s' "$params" | jq '.params | (.weight, .bias) | flatten[]' >"$own/params"
    changes=$(awk -v moments="$own/next" -f "$own/local.awk" \
        file=params "$own/params" file=moments "$own/moments" file=data "$file")
    mv "$own/next" "$own/moments"
    body=$(printf '%s' "$changes" | jq -c --argjson epoch "$epoch" '. + {epoch: $epoch}')
    optim_call PUT "$session/rounds/$round/contributions/$worker" "$body" >"$own/answer"
    state=open
    until [ "$state" = applied ]; do
        answer=$(optim_call GET "$session/rounds/$round?wait=25")
        state=$(printf '%s' "$answer" | jq -r .state)
    done
    round=$((round + 1))
done
optim_call DELETE "$session/workers/$worker"
