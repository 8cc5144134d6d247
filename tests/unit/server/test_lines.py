"""Open calls are counted from the lines that pass."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import anyio
import pytest

from mahavishnu_sched_mcp.server.lines import OpenCalls, screened_wire
from mahavishnu_sched_mcp.server.screening import LONGEST_LINE
from mahavishnu_sched_mcp.server.wire import Wire

REQUEST = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}'


@pytest.mark.parametrize(
    "answer",
    [
        '{"jsonrpc":"2.0","id":7,"result":{"content":[]}}',
        '{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"no"}}',
        '{"id": 7, "result": {}, "jsonrpc": "2.0"}',
    ],
)
async def test_an_answer_closes_its_call(answer: str) -> None:
    """Result or error, in whatever order the fields stand."""
    calls = OpenCalls()
    calls.take(json.loads(REQUEST))
    assert not await calls.settle(timeout_seconds=0)

    calls.answer(answer)

    assert await calls.settle(timeout_seconds=0)


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ],
)
async def test_only_requests_open_a_call(message: dict[str, Any]) -> None:
    """Notifications and answers wait for nothing."""
    calls = OpenCalls()

    calls.take(message)

    assert await calls.settle(timeout_seconds=0)


async def test_a_request_of_the_server_answers_nothing() -> None:
    """The server may use the same number for a question of its own."""
    calls = OpenCalls()
    calls.take(json.loads(REQUEST))

    calls.answer('{"jsonrpc":"2.0","id":7,"method":"elicitation/create"}')

    assert not await calls.settle(timeout_seconds=0)


async def test_settling_waits_for_the_last_answer() -> None:
    """Text ids and numbers are told apart."""
    calls = OpenCalls()
    for identifier in (7, "7"):
        calls.take({"id": identifier, "method": "ping"})
    settling = asyncio.create_task(calls.settle(timeout_seconds=5))

    calls.answer('{"jsonrpc":"2.0","id":7,"result":{}}')
    await asyncio.sleep(0)
    assert not settling.done()
    calls.answer('{"jsonrpc":"2.0","id":"7","result":{}}')

    assert await settling


async def passed(text: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Send a text through the wire; give the lines that passed and the answers to the others."""
    written = io.StringIO()
    wire = Wire(input=anyio.wrap_file(io.StringIO(text)), output=anyio.wrap_file(written))

    async def settled(calls: OpenCalls) -> None:
        await calls.settle(timeout_seconds=0)

    lines = [line async for line in screened_wire(wire, at_end=settled).input]
    return lines, [json.loads(line) for line in written.getvalue().splitlines()]


async def test_the_lines_after_an_unreadable_one_still_pass() -> None:
    """One bad line costs its own call and no other."""
    bad = REQUEST.replace("{}", '{"name": NaN}')

    lines, answers = await passed(f"{bad}\n\nnonsense\n{REQUEST}\n")

    assert lines == [f"{REQUEST}\n"]
    assert [(one["id"], one["error"]["code"]) for one in answers] == [(7, -32700), (None, -32700)]


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"%s"}}',
        '{"method":"x","params":{"a":"%s"},"jsonrpc":"2.0","id":7}',
    ],
    ids=["id first", "id last"],
)
@pytest.mark.parametrize("length", [LONGEST_LINE, 3 * LONGEST_LINE + 5])
async def test_a_line_without_end_is_refused_with_its_id(line: str, length: int) -> None:
    """It is read through piece by piece, so that the next message is found."""
    lines, answers = await passed(f"{line % ('x' * length)}\n{REQUEST}\n")

    assert lines == [f"{REQUEST}\n"]
    (answer,) = answers
    assert (answer["id"], answer["error"]["code"]) == (7, -32600)
    assert f"longer than {LONGEST_LINE} characters" in answer["error"]["message"]


async def test_the_longest_line_passes() -> None:
    """The limit itself is allowed, with and without a line's end."""
    frame = '{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"%s"}}'
    line = frame % ("x" * (LONGEST_LINE - len(frame) + 1))

    assert await passed(line + "\n") == ([line + "\n"], [])
