"""A server whose ledger is damaged, and the operator who mends it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import Place, RawServer, leaving_nothing, serving

pytestmark = pytest.mark.slow

HOURLY = {"type": "interval", "seconds": 3600}


async def ran(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the program."""
    return await asyncio.to_thread(
        subprocess.run,
        place.command(*words),
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


async def refusal(server: RawServer, tool: str, **arguments: Any) -> str:
    """Call a tool that has to refuse, and give what it says."""
    result = await server.ask("tools/call", {"name": tool, "arguments": arguments})
    assert result["isError"], result
    return str(result["content"][0]["text"])


async def end(server: RawServer) -> int:
    """Close its input, and give its exit code."""
    assert server.process.stdin is not None
    server.process.stdin.close()
    return await server.end()


@pytest.mark.timeout(120)
async def test_a_damaged_ledger_is_served_as_such_and_mended_by_a_restore(tmp_path: Path) -> None:
    """Calls that need it name the backup to restore; the others are answered; nothing is lost."""
    place = Place.of(tmp_path)
    ledger = place.folder / "data" / "ledger.db"
    backups = place.folder / "data" / "backups"
    name = "ledger-20261101T000000Z.db"

    async with leaving_nothing(place):
        async with serving(place) as running:
            await running.call("schedule_internal_task", task="shout", trigger=HOURLY, id="kept")
        backups.mkdir(mode=0o700)
        made = await ran(place, "backup", str(backups / name))
        damaged = ledger.read_bytes()[:4096] + b"\xa5" * 40_000
        ledger.write_bytes(damaged)

        server = await RawServer.start(place)
        said = [
            await refusal(server, "list_jobs"),
            await refusal(server, "get_status"),
            await refusal(server, "schedule_internal_task", task="shout", trigger=HOURLY, id="n"),
        ]
        catalog = await server.call("list_catalog", kind="task")
        preview = await server.call("preview_schedule", trigger=HOURLY)
        choice = await server.call("classify_task", task_name="health_check")
        code = await end(server)
        untouched = ledger.read_bytes()
        asked = await ran(place, "jobs")
        restored = await ran(place, "restore", name)
        async with serving(place) as running:
            jobs = (await running.call("list_jobs"))["jobs"]

    assert made.returncode == 0, made.stderr
    for text in said:
        assert text.startswith("[ledger_corrupt] ")
        assert f"`mahavishnu-sched-mcp restore {name}`" in text
        assert "/" not in text
    assert {"shout", "dawdle"} <= {task["name"] for task in catalog["tasks"]}
    assert len(preview["fires"]) == 5
    assert choice["backend"] == "apscheduler"
    assert code == 0
    assert untouched == damaged
    assert str(ledger) in place.log.read_text()
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "[ledger_corrupt]" in asked.stderr
    assert "Traceback" not in asked.stderr + place.log.read_text()
    assert restored.returncode == 0, restored.stderr
    (aside,) = (file for file in ledger.parent.glob("*.damaged.db"))
    assert aside.read_bytes() == damaged
    assert [job["job_id"] for job in jobs] == ["apscheduler:kept"]


@pytest.mark.timeout(120)
async def test_a_running_server_is_backed_up_and_cannot_be_restored_under(tmp_path: Path) -> None:
    """`backup` works beside it; `restore` names its process and changes nothing."""
    place = Place.of(tmp_path)
    copy = place.folder / "copy.db"

    async with leaving_nothing(place):
        async with serving(place) as server:
            await server.call("schedule_internal_task", task="shout", trigger=HOURLY, id="kept")
            made = await ran(place, "backup", str(copy))
            refused = await ran(place, "restore", str(copy))
            jobs = (await server.call("list_jobs"))["jobs"]
            pid = server.pid
        restored = await ran(place, "restore", str(copy))

    assert made.returncode == 0, made.stderr
    assert refused.returncode == 1
    assert f"process {pid} on" in refused.stderr
    assert len(jobs) == 1
    assert restored.returncode == 0, restored.stderr


@pytest.mark.timeout(60)
async def test_a_clean_stop_leaves_no_log_behind(tmp_path: Path) -> None:
    """All that was committed is in the one file then."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        async with serving(place) as server:
            await server.call("schedule_internal_task", task="shout", trigger=HOURLY, id="kept")
        left = {file.name for file in (place.folder / "data").iterdir()}

    assert "ledger.db" in left
    assert not {"ledger.db-wal", "ledger.db-shm"} & left
