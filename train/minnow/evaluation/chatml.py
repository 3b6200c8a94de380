"""The source's own ChatML format, and what becomes of the prompts in it.

Tools and tool results have no form in it, so the kinds `tools` and `result` count as failed and are
not asked. The kind `no-tool` asks the question without its tools. For `json`, the system prompt
contains the words and the schema that the V3.2 prompt has, and nothing constrains the answer. For
`thinking`, only the answer is checked. Its own name replaces Minnow's in the checks.
"""

import json

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
IM_START, IM_END = 1, 2
NOT_ITS_FORMAT = {"tools", "result"}
SCHEMA = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"


def encode(tok, messages, answer=True):
    """Token ids of messages, opened for an answer, and whether each belongs to an answer of the
    assistant."""
    messages = messages if messages[0]["role"] == "system" else [{"role": "system", "content": SYSTEM}, *messages]
    text = lambda s: tok.encode(s).ids
    ids, of_answer = [], []
    for m in messages:
        head, body = [IM_START, *text(m["role"] + "\n")], [*text(m["content"]), IM_END]
        ids += head + body + text("\n")
        of_answer += [False] * len(head) + [m["role"] == "assistant"] * len(body) + [False]
    opening = [IM_START, *text("assistant\n")] if answer else []
    return ids + opening, of_answer + [False] * len(opening)


def messages(prompt):
    """Messages of a prompt of the evaluation in the source's format."""
    out, form = [dict(m) for m in prompt["request"]["messages"]], prompt["request"].get("response_format", {})
    if form.get("type") == "json_schema":
        text = SCHEMA + json.dumps(form, ensure_ascii=False)
        if out[0]["role"] == "system":
            out[0]["content"] += "\n\n" + text
        else:
            out.insert(0, {"role": "system", "content": text})
    return out


def renamed(prompt):
    """The prompt with the source's name in place of Minnow's in its checks."""
    return prompt if prompt["kind"] == "system" else prompt | {"checks": json.loads(json.dumps(prompt["checks"]).replace("Minnow", "SmolLM"))}
