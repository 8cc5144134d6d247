"""The product's own chores."""

from __future__ import annotations

import json

from mahavishnu_sched_mcp.domain.run import RunState

from .fakes import RecordingPorts, a_run, an_executor

HEALTHY = {"ledger": {"ok": True}, "engines": {"prefect": {"ok": False}}, "now": "12:00"}


async def test_a_reminder_is_kept_with_its_run() -> None:
    """`remind` leaves its message for the agent's next look, and answers it."""
    ports = RecordingPorts()

    async with an_executor(ports=ports) as executor:
        outcome = await executor.execute("remind", {"message": "tea"}, context=a_run("run-3"))

    assert outcome.output.text == "tea"
    assert ports.kept == [("tea", "run-3")]


async def test_a_reminder_has_1_to_2000_characters() -> None:
    """An empty or endless reminder is refused."""
    async with an_executor() as executor:
        outcomes = [
            await executor.execute("remind", {"message": "x" * length}, context=a_run())
            for length in (0, 1, 2000, 2001)
        ]

    states = [outcome.state for outcome in outcomes]
    good, bad = RunState.SUCCEEDED, RunState.FAILED
    assert states == [bad, good, good, bad]


async def test_a_healthy_server_shows_its_parts() -> None:
    """`health_check` answers what the probe said."""
    async with an_executor(ports=RecordingPorts(parts={"ledger": {"ok": True}})) as executor:
        outcome = await executor.execute("health_check", {}, context=a_run())

    assert outcome.state is RunState.SUCCEEDED
    assert outcome.value == {"ledger": {"ok": True}}


async def test_a_broken_part_fails_the_check_by_name() -> None:
    """The reason names each broken part, at any depth; the output still shows them all."""
    parts = {"ledger": {"ok": False, "detail": "3 pages"}, "disk": {"ok": False}, **HEALTHY}
    parts["ledger"] = {"ok": False, "detail": "3 pages are torn"}

    async with an_executor(ports=RecordingPorts(parts=parts)) as executor:
        outcome = await executor.execute("health_check", {}, context=a_run())

    assert outcome.state is RunState.FAILED
    assert outcome.reason == (
        "UnhealthyError: ledger: 3 pages are torn; disk: not ok; engines.prefect: not ok"
    )
    assert json.loads(outcome.output.text) == parts


async def test_the_probe_as_a_whole_can_say_no() -> None:
    """A probe that gives one answer only is believed too."""
    parts = {"ok": False, "detail": "the clock went back"}

    async with an_executor(ports=RecordingPorts(parts=parts)) as executor:
        outcome = await executor.execute("health_check", {}, context=a_run())

    assert outcome.reason == "UnhealthyError: the clock went back"


async def test_a_sample_is_the_runs_output() -> None:
    """`metrics_collection` answers the figures it kept."""
    async with an_executor(ports=RecordingPorts(parts={"jobs": 3})) as executor:
        outcome = await executor.execute("metrics_collection", {}, context=a_run())

    assert outcome.value == {"jobs": 3}


async def test_a_cleanup_answers_what_it_removed() -> None:
    """`cache_cleanup` shows the figures of the retention."""
    freed = {"removed": {"runs": 3}}
    async with an_executor(ports=RecordingPorts(parts=freed)) as executor:
        outcome = await executor.execute("cache_cleanup", {}, context=a_run())

    assert outcome.value == freed
