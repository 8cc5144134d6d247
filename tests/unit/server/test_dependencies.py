"""Who calls, as the ledger will remember it."""

from __future__ import annotations

import pytest

from mahavishnu_sched_mcp.server.dependencies import caller_name


@pytest.mark.parametrize(
    ("name", "version", "caller"),
    [
        ("claude-code", "1.2", "claude-code/1.2"),
        ("Claude Code", "1.2 (beta)", "Claude-Code/1.2-beta"),
        ("cursor", None, "cursor"),
        ("cursor", "", "cursor"),
        (None, None, "local"),
        ("", "1", "local"),
        ("\x1b[31m../../etc", "1", "31m..-..-etc/1"),
        ("a" * 500, "1" * 500, f"{'a' * 48}/{'1' * 24}"),
    ],
)
def test_a_clients_name_is_made_safe_and_short(
    name: str | None, version: str | None, caller: str
) -> None:
    """Letters, digits, dots, dashes, plus and underscore; `local` where nobody says a name."""
    assert caller_name(name, version) == caller
