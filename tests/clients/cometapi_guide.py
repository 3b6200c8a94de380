"""The Python sample of CometAPI's guide to DeepSeek-V3.2-Exp; only the base URL is changed, and its mistakes are kept.

The sample uses os.environ itself as the key, so the Authorization header contains the complete process environment.
"""

import os

import requests

cometapi_API_KEY = os.environ  # sic
url = os.environ.get("CACHALOT_URL", "http://127.0.0.1:8000") + "/v1/chat/completions"

headers = {"Authorization": f"Bearer {cometapi_API_KEY}", "Content-Type": "application/json"}
payload = {
    "model": "DeepSeek-V3.2-Exp-thinking",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Summarize the attached meeting transcript in 3 bullet points."},
    ],
    "max_tokens": 800,
}

resp = requests.post(url, json=payload, headers=headers, timeout=300)
resp.raise_for_status()
data = resp.json()
print(data["choices"][0]["message"]["content"])

# Not part of the sample: the reply of a thinking model contains its reasoning.
assert isinstance(data["choices"][0]["message"]["content"], str), data
assert isinstance(data["choices"][0]["message"]["reasoning_content"], str), data
assert data["usage"]["completion_tokens_details"]["reasoning_tokens"] <= data["usage"]["completion_tokens"] <= 800, data
