"""Writes inputs of 60 KiB that are slow if work grows faster than the input: `large.py corpus/usage_scanner`."""
import pathlib
import sys

SIZE = 60 << 10


def repeated(before, piece, between, after):
    text, number = [], 0
    length = len(before) + len(after)
    while (length := length + len(piece(number)) + len(between)) <= SIZE:
        text.append(piece(number))
        number += 1
    return before + between.join(text) + after


def same(text):
    return lambda _: text


INPUTS = {
    "keys": repeated("{", lambda n: f'"k{n}":0', ",", "}"),
    "escaped_keys": repeated("{", lambda n: f'"\\u006b{n}":0', ",", "}"),
    "values": repeated('{"model":"m","messages":[', same("0"), ",", "]}"),
    "nesting": repeated('{"usage":', same("["), "", ""),
    "quotes": repeated('{"model":', same('"'), "", ""),
    "backslashes": repeated('{"model":"', same("\\\\"), "", ""),
    "spaces": repeated('{"a"', same(" "), "", "}"),
    "number": repeated('{"max_tokens":', same("1"), "", "}"),
    "messages": repeated('{"model":"m","messages":[', same('{"role":"user","content":"a"}'), ",", "]}"),
    "calls": repeated(
        '{"model":"m","messages":[{"role":"assistant","tool_calls":[',
        lambda n: f'{{"id":"c{n}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}',
        ",",
        "]}]}",
    ),
    "lines": repeated("", same("\n"), "", ""),
    "returns": repeated("", same("\r"), "", ""),
    "data_lines": repeated("", same("data:\n"), "", ""),
    "events": repeated("", same('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}'), "\n\n", "\n\n"),
    "event_calls": repeated(
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[',
        lambda n: f'{{"index":{n},"id":"c{n}","function":{{"name":"f","arguments":"a"}}}}',
        ",",
        "]}}]}\n\n",
    ),
    "usages": repeated("", same('data: {"choices":[],"usage":{"prompt_tokens":1}}'), "\n\n", "\n\n"),
    "parts": repeated(
        "",
        lambda n: f'--x\r\nContent-Disposition: form-data; name="n{n}"\r\n\r\n\r\n',
        "",
        "--x--",
    ),
    "boundaries": repeated('--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n', same("\r\n--"), "", "\r\n--x--"),
    "parameters": repeated("--x\r\nContent-Disposition: form-data", same(";a=b"), "", "\r\n\r\n\r\n--x--"),
    "halves": repeated("", same("aaaaaaaaaaaaaaaaaaa b"), "", ""),
    "ids": repeated('{"buttons":["', same("MJ::17733149::U1 "), "", '"]}'),
}

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, text in INPUTS.items():
    (folder / f"large_{name}").write_bytes(text.encode() + b"\0\0\0")
