"""Open calls are counted from the lines that pass."""

from __future__ import annotations

import asyncio
import json

import pytest

from mahavishnu_sched_mcp.server.wire import OpenCalls

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
    calls.take(REQUEST)
    assert not await calls.settle(timeout_seconds=0)

    calls.answer(answer)

    assert await calls.settle(timeout_seconds=0)


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
        '{"jsonrpc":"2.0","id":1,"result":{}}',
        "not json",
        "[1, 2]",
        "[" * 100_000,
    ],
)
async def test_only_requests_open_a_call(line: str) -> None:
    """Notifications, answers and noise wait for nothing."""
    calls = OpenCalls()

    calls.take(line)

    assert await calls.settle(timeout_seconds=0)


async def test_a_request_of_the_server_answers_nothing() -> None:
    """The server may use the same number for a question of its own."""
    calls = OpenCalls()
    calls.take(REQUEST)

    calls.answer('{"jsonrpc":"2.0","id":7,"method":"elicitation/create"}')

    assert not await calls.settle(timeout_seconds=0)


async def test_settling_waits_for_the_last_answer() -> None:
    """Text ids and numbers are told apart."""
    calls = OpenCalls()
    for identifier in (7, "7"):
        calls.take(json.dumps({"id": identifier, "method": "ping"}))
    settling = asyncio.create_task(calls.settle(timeout_seconds=5))

    calls.answer('{"jsonrpc":"2.0","id":7,"result":{}}')
    await asyncio.sleep(0)
    assert not settling.done()
    calls.answer('{"jsonrpc":"2.0","id":"7","result":{}}')

    assert await settling
