#!/usr/bin/env bash
# The curl command of CometAPI's guide to DeepSeek-V3.2-Exp; only the base URL is changed. Runs with and without its key variable.
# Prints one line per check, `ok NAME` or `not ok NAME: reason`. Exits with 1 if one failed.
set -eo pipefail # not -u: the second request needs the variable unset
url=${CACHALOT_URL:-http://127.0.0.1:8000}
failed=0

send_request() {
  curl -sS -w '\n%{http_code}' "$url/v1/chat/completions" \
    -H "Content-Type: application/json" \
    -H "Authorization: Bearer $cometapi_API_KEY" \
    -d '{
      "model": "deepseek-v3.2-exp",
      "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Summarize the attached meeting transcript in 3 bullet points."}
      ],
      "max_tokens": 512,
      "stream": false
    }'
}

check() { # NAME REPLY
  if reason=$(python3 -c '
import json, sys
body, _, status = sys.stdin.read().rstrip("\n").rpartition("\n")
assert status == "200", f"status {status}: {body[:300]}"
reply = json.loads(body)
assert reply["object"] == "chat.completion" and reply["model"] == "deepseek-v3.2-exp", body[:300]
(choice,) = reply["choices"]
assert choice["message"]["role"] == "assistant" and isinstance(choice["message"]["content"], str), choice
assert "reasoning_content" not in choice["message"], choice
assert choice["finish_reason"] in ("stop", "length"), choice
usage = reply["usage"]
assert usage["prompt_tokens"] > 10 and 1 <= usage["completion_tokens"] <= 512, usage
assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
' <<<"$2" 2>&1); then
    echo "ok curl of CometAPI's guide, $1"
  else
    echo "not ok curl of CometAPI's guide, $1: ${reason##*$'\n'}"
    failed=1
  fi
}

export cometapi_API_KEY=sk-0123456789abcdef
check "with its variable set" "$(send_request)"
unset cometapi_API_KEY
check "with its variable unset" "$(send_request)"
exit $failed
