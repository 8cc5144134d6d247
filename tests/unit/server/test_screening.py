"""A request that cannot be read is answered, with its id wherever the line still tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_sched_mcp.server.screening import DEEPEST, EDGE, find_id, screen


def a_request(params: str, *, identifier: str = "7") -> str:
    """Write a request as a client does, with these params."""
    return f'{{"jsonrpc":"2.0","id":{identifier},"method":"tools/call","params":{params}}}\n'


def nested(levels: int) -> str:
    """Write params of so many levels."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def answer_to(line: str) -> dict[str, Any]:
    """Give the JSON-RPC error that a line gets."""
    screened = screen(line)
    assert not screened.may_pass
    assert screened.answer is not None
    assert screened.answer.endswith("\n")
    answer: dict[str, Any] = json.loads(screened.answer)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["message"].startswith("[invalid_arguments] ")
    return answer


@pytest.mark.parametrize(
    "line",
    [
        a_request("{}"),
        a_request("{}", identifier='"seven"'),
        a_request(nested(DEEPEST - 1)),
        a_request('{"a": "' + "[{" * 500 + '"}'),
        a_request('{"a": "\\ud83d\\ude00 and \\\\ud83d"}'),
        '{"jsonrpc":"2.0","method":"notifications/initialized"}\n',
        '{"jsonrpc":"2.0","id":7,"result":{}}\n',
        '{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}\n',
    ],
)
def test_a_readable_message_passes_as_it_is(line: str) -> None:
    """Nothing of the protocol is refused, and the message is read once for all."""
    screened = screen(line)

    assert screened.may_pass
    assert screened.answer is None
    assert screened.message == json.loads(line)


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [
        ('{"a": "\\ud83d"}', -32602, "surrogate"),
        ('{"\\ude00": 1}', -32602, "surrogate"),
        (nested(DEEPEST), -32602, "100 levels"),
        (nested(5000), -32602, "100 levels"),
        (nested(200_000), -32602, "100 levels"),
        ('{"a": NaN}', -32700, "NaN is no JSON number"),
        ('{"a": -Infinity}', -32700, "-Infinity is no JSON number"),
        ('{"a": ' + "9" * 5000 + "}", -32700, "no JSON"),
        ('{"a": tru}', -32700, "no JSON"),
        ("[1]", -32600, "no JSON-RPC 2.0 message"),
    ],
    ids=["surrogate", "surrogate in a key", "101 levels", "5000 levels", "200,000 levels", "NaN",
         "Infinity", "endless number", "no JSON", "params in a list"],
)  # fmt: skip
def test_an_unreadable_request_is_answered_with_its_id(params: str, code: int, said: str) -> None:
    """The client learns which of its calls failed, and why."""
    answer = answer_to(a_request(params))

    assert (answer["id"], answer["error"]["code"]) == (7, code)
    assert said in answer["error"]["message"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense\n", -32700),
        ("[]\n", -32600),
        ("5\n", -32600),
        ("{}\n", -32600),
        ("[" * 100_000, -32602),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}\n', -32600),
        ('{"jsonrpc":"2.0","id":true,"method":"ping"}\n', -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}\n', -32600),
    ],
)
def test_where_nobody_can_tell_the_id_it_is_null(line: str, code: int) -> None:
    """So JSON-RPC has it."""
    answer = answer_to(line)

    assert (answer["id"], answer["error"]["code"]) == (None, code)


def test_an_id_of_half_a_pair_comes_back_as_it_was() -> None:
    """The answer finds its call even then."""
    assert answer_to(a_request("{}", identifier='"\\ud83d"'))["id"] == "\ud83d"


@pytest.mark.parametrize(
    "line",
    [
        "\n",
        '{"jsonrpc":"2.0","method":"notifications/x","params":{"a":"\\ud83d"}}\n',
        '{"jsonrpc":"2.0","id":7,"result":{"a":"\\ud83d"}}\n',
        '{"jsonrpc":"1.0","method":"notifications/x"}\n',
    ],
)
def test_what_is_no_request_gets_no_answer(line: str) -> None:
    """The protocol answers neither notifications nor answers."""
    screened = screen(line)

    assert not screened.may_pass
    assert screened.answer is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"jsonrpc": "2.0", "id": 7, "method": "x", "params": {', 7),
        ('{"id":"a-7","method":', "a-7"),
        ('{"method":"x","params":{"id":3,"b":[NaN]},"id":7}', 7),
        ('{"method":"x","params":{"b":NaN},"id":7,"jsonrpc":"2.0"}\n', 7),
        ('{"method":"x","params":{"id":3,"b":NaN}}', None),
        ('{"method":"x","params":{"b":NaN,"id":3}}', None),
        ('{"params":{"b":NaN},"id":1.5}', None),
        ('{"params":"\\"id\\":3}', None),
    ],
)
def test_only_the_messages_own_id_is_taken(line: str, expected: str | int | None) -> None:
    """An id inside the params is a stranger's: better none than the wrong one."""
    assert find_id(line[:EDGE], line[-EDGE:]) == expected
