#!/bin/sh
# Finds the x at which (x - 3)² is least, with curl and awk: the gradient is 2(x - 3).
set -eu
URL=${OPTIM_BASE_URL:-http://127.0.0.1:8000}

post() { curl -sSf -H 'Content-Type: application/json' -d "$2" "$URL$1"; }

id=$(post /v1/sessions '{"optimizer": "sgd", "hyperparameters": {"lr": 0.3}}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
x=0
for step in $(seq 12); do
  gradient=$(awk "BEGIN { print 2 * ($x - 3) }")
  answer=$(post "/v1/sessions/$id/steps" "{\"step\": $step, \"params\": {\"x\": [$x]}, \"grads\": {\"x\": [$gradient]}}")
  x=$(echo "$answer" | sed 's/.*"x":\[\([^]]*\)\].*/\1/')
done
printf 'x = %.2f, after step %d\n' "$x" "$step"
