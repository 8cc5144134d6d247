"""What a run wrote: data from strangers, capped and marked untrusted."""

from __future__ import annotations

import builtins
import re
from typing import Literal

from mahavishnu_sched_mcp.domain.value import Value

_LEAST_WITH_MARKER = 64
"""Below so many bytes the line that says what is cut would leave no room for the text."""
_MARKER = re.compile(r"\n\[\.\.\. [0-9]+ bytes cut \.\.\.\]\n")
_UNREADABLE = "\ufffd"
"""Stands for a byte that is no text; three bytes long itself."""


class Output(Value):
    """The kept part of a run's output.

    Attributes:
        text: Valid Unicode; the head and the tail when it was cut.
        bytes: The true size of what was written, in bytes.
        truncated: Whether `text` is less than what was written.
        trust: Always `untrusted`: never instructions, always data.
    """

    text: str = ""
    bytes: int = 0
    truncated: bool = False
    trust: Literal["untrusted"] = "untrusted"

    @classmethod
    def of(cls, text: str, *, cap: int) -> Output:
        """Keep a text, its head and tail when it is over the cap.

        Args:
            text: What was written.
            cap: The most bytes to keep (`limits.max_output_bytes`).
        """
        return cls.of_bytes(text.encode("utf-8", "replace"), cap=cap)

    @classmethod
    def of_bytes(cls, raw: builtins.bytes, *, cap: int, size: int | None = None) -> Output:
        """Keep bytes as text, their head and tail when they are over the cap.

        Args:
            raw: What was written, or the kept part of it.
            cap: The most bytes to keep.
            size: The true size where `raw` is only a part.
        """
        total = len(raw) if size is None else size
        if len(raw) <= cap:
            return cls(text=raw.decode("utf-8", "replace"), bytes=total, truncated=total > len(raw))
        return cls(text=_cut(raw, raw, cap=cap, total=total), bytes=total, truncated=True)

    def shortened(self, cap: int) -> Output:
        """Show at most `cap` bytes: head, tail and the line that says what is cut of the whole.

        Args:
            cap: The most bytes of text, that line included; under 64 only the head is shown.
        """
        size = len(self.text.encode("utf-8"))
        if size <= cap:
            return self
        head, tail = self._ends()
        text = _cut(
            head.encode("utf-8"),
            tail.encode("utf-8"),
            cap=cap,
            total=self.bytes,
            has_grown=size > self.bytes and not self.truncated,
        )
        return self.model_copy(update={"text": text, "truncated": True})

    def _ends(self) -> tuple[str, str]:
        """Give the text before and after what is already cut; both are the text if nothing is."""
        if not self.truncated:
            return self.text, self.text
        # the run may have written such a line itself: ours is the one in the middle
        found = min(
            _MARKER.finditer(self.text),
            key=lambda match: abs(match.start() + match.end() - len(self.text)),
            default=None,
        )
        if found is None:
            return self.text, ""
        return self.text[: found.start()], self.text[found.end() :]


def _cut(head: bytes, tail: bytes, *, cap: int, total: int, has_grown: bool = False) -> str:
    """Join a beginning and an end to at most `cap` bytes, between whole characters.

    Args:
        head: Where the beginning is taken from, UTF-8.
        tail: Where the end is taken from.
        cap: The most bytes of the result.
        total: The true size of the whole.
        has_grown: Unreadable bytes were replaced by longer characters.
    """
    if cap < _LEAST_WITH_MARKER:
        return head[:cap].decode("utf-8", "ignore")
    room = cap - len(_marker(total))
    first = head[: room // 2].decode("utf-8", "ignore")
    last = tail[-(room - room // 2) :].decode("utf-8", "ignore")
    shown = len((first + last).encode("utf-8"))
    if has_grown:
        shown -= (len(_UNREADABLE.encode()) - 1) * (first + last).count(_UNREADABLE)
    return f"{first}{_marker(total - shown)}{last}"


def _marker(count: int) -> str:
    return f"\n[... {count} bytes cut ...]\n"
