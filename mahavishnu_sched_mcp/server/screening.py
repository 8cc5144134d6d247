"""What may not reach the protocol's reader, which drops it without a word, is answered here.

A client waits for every request it sends. So a line that cannot be read as a message gets a
JSON-RPC error of ours, with the request's id wherever the line still tells it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mcp.types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, jsonrpc_message_adapter
from pydantic import ValidationError

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.value import JsonObject

LONGEST_LINE = 1_048_576
"""Characters: far above any call that the limits allow, far below what holds a server up."""

DEEPEST = 100
"""Levels of nesting; the protocol's reader itself gives up at some 200."""

EDGE = 4096
"""How much of both ends of an unreadable line is searched for the request's id."""

_PLAIN_MEMBERS = r'(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|-?\d+|true|false|null)\s*,)*'
_ID_MEMBER = r'\s*"id"\s*:\s*(?P<id>"[^"\\]*"|-?\d{1,18})\s*'
_ID_AT_START = re.compile(rf"\s*\{{{_PLAIN_MEMBERS}{_ID_MEMBER}[,}}]")
_ID_AT_END = re.compile(
    rf',{_ID_MEMBER}(?:,\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|-?\d+|true|false|null)\s*)*\}}\s*$'
)
"""Only plain members stand between the id and its end, so it is the message's own."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Screened:
    """What became of a line.

    Attributes:
        message: The message, where it may pass; else empty.
        answer: The line to answer with, where it may not; None also for what asks no answer.
    """

    message: JsonObject
    answer: str | None = None

    @property
    def may_pass(self) -> bool:
        """Whether the protocol's reader can read it."""
        return bool(self.message)


class _UnreadableError(Exception):
    """A line is not passed on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def screen(line: str) -> Screened:
    """Read a line as the protocol's reader would, and answer what that one would drop.

    Args:
        line: A whole line from the client.
    """
    if not line.strip():
        return Screened({})
    message: Any = None
    try:
        message = _read(line)
        _check(message, line=line)
    except _UnreadableError as refused:
        if not isinstance(message, dict):
            identifier = find_id(line[:EDGE], line[-EDGE:])
        elif _wants_no_answer(message):
            return Screened({})
        else:
            identifier = _usable(message.get("id"))
        return Screened({}, answer=refuse(identifier, code=refused.code, text=str(refused)))
    return Screened(message)


def refuse_long(head: str, tail: str) -> Screened:
    """Answer a line that is longer than any call may be.

    Args:
        head: How it begins.
        tail: How it ends.
    """
    text = (
        f"The message is longer than {LONGEST_LINE} characters. "
        "Send less in one call; large data belongs into a file that the task reads."
    )
    return Screened({}, answer=refuse(find_id(head, tail), code=INVALID_REQUEST, text=text))


def refuse(identifier: str | int | None, *, code: int, text: str) -> str:
    """Write a JSON-RPC error as a line.

    Args:
        identifier: The request's id; None where nobody can tell it.
        code: JSON-RPC's own.
        text: What was refused, and how to mend it.
    """
    error = {"code": code, "message": f"[invalid_arguments] {text}"}
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "error": error}) + "\n"


def find_id(head: str, tail: str) -> str | int | None:
    """Find a request's id at the ends of a line that cannot be read; None where it is not sure."""
    found = _ID_AT_START.match(head) or _ID_AT_END.search(tail)
    return None if found is None else _usable(json.loads(found["id"], strict=False))


def _read(line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        text = f"The line is no JSON ({error}). Send one JSON object per line."
        raise _UnreadableError(PARSE_ERROR, text) from error


def _check(message: Any, *, line: str) -> None:
    """Insist on what the protocol's reader, and all behind it, can take."""
    if not isinstance(message, dict):
        text = "The line is no JSON object. Send one JSON-RPC message per line, without batches."
        raise _UnreadableError(INVALID_REQUEST, text)
    if line.count("[") + line.count("{") > DEEPEST and _is_deep(message):
        raise _too_deep()
    if _SURROGATE.search(line) and not _is_text(message):
        text = (
            "A text holds half a surrogate pair, which is no character. "
            "Write both halves, or the character itself in UTF-8."
        )
        raise _UnreadableError(INVALID_PARAMS, text)
    if "method" in message and "id" in message and _usable(message["id"]) is None:
        text = "The request's id is neither text nor a whole number. Use one of these."
        raise _UnreadableError(INVALID_REQUEST, text)
    try:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        text = "The line is no JSON-RPC 2.0 message. Give jsonrpc, id, method and params."
        raise _UnreadableError(INVALID_REQUEST, text) from error


def _is_deep(message: JsonObject) -> bool:
    layer: list[Any] = [message]
    for _ in range(DEEPEST):
        layer = [
            inner
            for item in layer
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _is_text(message: JsonObject) -> bool:
    """Whether all its texts can be written as UTF-8."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _wants_no_answer(message: JsonObject) -> bool:
    """Whether it is a notification, or an answer itself: the protocol answers neither."""
    if "method" in message:
        return "id" not in message
    return "result" in message or "error" in message


def _usable(identifier: Any) -> str | int | None:
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        return None
    return identifier


def _too_deep() -> _UnreadableError:
    text = f"The message is nested more than {DEEPEST} levels deep. Flatten it."
    return _UnreadableError(INVALID_PARAMS, text)


def _refuse_constant(name: str) -> NoReturn:
    text = f"{name} is no JSON number. Use a finite number, null or a text."
    raise _UnreadableError(PARSE_ERROR, text)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
