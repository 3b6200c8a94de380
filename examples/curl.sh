#!/usr/bin/env bash
# A few requests by hand: models, a whole answer, a stream, Anthropic's API, an error. Exits with 1 where one fails.
set -euo pipefail
url=${CACHALOT_URL:-http://127.0.0.1:8000}
key=${CACHALOT_KEY:-any}
model=${CACHALOT_MODEL:-deepseek-chat}

post() { # PATH BODY [CURL ARGUMENTS...]
  local path=$1 body=$2
  shift 2
  curl -sS --fail-with-body "$url$path" -H "Authorization: Bearer $key" -H "Content-Type: application/json" -d "$body" "$@"
  echo
}

echo "== the models of this server"
curl -sS --fail-with-body "$url/v1/models" -H "Authorization: Bearer $key"
echo

echo "== a whole answer"
post /chat/completions '{
  "model": "'"$model"'",
  "messages": [{"role": "user", "content": "Who are you?"}],
  "max_tokens": 40
}'

echo "== the same as a stream: one event for each piece, the usage in the last one, then [DONE]"
post /chat/completions '{
  "model": "'"$model"'",
  "messages": [{"role": "user", "content": "Who are you?"}],
  "max_tokens": 40,
  "stream": true,
  "stream_options": {"include_usage": true}
}' --no-buffer

echo "== the same model by Anthropic's API"
post /v1/messages '{
  "model": "'"$model"'",
  "max_tokens": 40,
  "messages": [{"role": "user", "content": "Who are you?"}]
}' -H "anthropic-version: 2023-06-01"

echo "== an error: it names the field"
status=$(curl -sS -o /dev/stderr -w '%{http_code}' "$url/chat/completions" -H "Authorization: Bearer $key" \
  -H "Content-Type: application/json" -d '{"model": "'"$model"'", "messages": []}')
echo "status $status"
[ "$status" = 400 ]
