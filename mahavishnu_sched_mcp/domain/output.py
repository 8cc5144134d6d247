"""What a run wrote: data from strangers, capped and marked untrusted."""

from __future__ import annotations

import builtins
from typing import Literal

from mahavishnu_sched_mcp.domain.value import Value


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
        half = max(1, cap // 2)
        cut = len(raw) - 2 * half
        head, tail = raw[:half].decode("utf-8", "ignore"), raw[-half:].decode("utf-8", "ignore")
        return cls(text=f"{head}\n[... {cut} bytes cut ...]\n{tail}", bytes=total, truncated=True)

    def shortened(self, cap: int) -> Output:
        """Show at most `cap` bytes of the kept text, head and tail."""
        raw = self.text.encode("utf-8")
        if len(raw) <= cap:
            return self
        return Output.of_bytes(raw, cap=cap).model_copy(
            update={"bytes": self.bytes, "truncated": True}
        )
