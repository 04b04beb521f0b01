#!/bin/sh
# Fits a plane to four points by AdamW over HTTP: least_squares.sh [URL].
set -eu
here=$(dirname "$0")
. "$here/optim.sh"
optim_base_url=${1:-$optim_base_url}

# The gradient of half the mean of the squared errors. JSON has the shortest decimals of float32 numbers: `float32` rounds
# what jq reads, which is float64, back to these.
gradient='def float32: (. * 536870913) as $c | $c - ($c - .);
    (.w | map(float32)) as $w | (.b[0] | float32) as $b
    | [[[1, 2], 7], [[3, 1], 7], [[2, 4], 15], [[4, 3], 16]]
    | map(.[0] as $x | ($w[0] * $x[0] + $w[1] * $x[1] + $b - .[1]) as $error | [$error * $x[0], $error * $x[1], $error])
    | transpose | map(add / 4) | {w: .[:2], b: .[2:]}'

settings='{"optimizer": "adamw", "hyperparameters": {"lr": 0.5, "betas": [0.7, 0.9], "weight_decay": 0},
    "schedule": {"kind": "cosine", "total_steps": 60}}'

id=$(optim_create "$settings" | jq -r .id)
params='{"w": [0, 0], "b": [0]}'
step=0
while [ $step -lt 60 ]; do
    step=$((step + 1))
    grads=$(printf '%s' "$params" | jq -c "$gradient")
    answer=$(optim_step "$id" $step "$params" "$grads")
    params=$(printf '%s' "$answer" | jq -c .params)
done
printf '{"params": %s}\n' "$params"
