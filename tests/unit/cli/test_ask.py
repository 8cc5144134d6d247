"""The commands that only ask: the tools' answers, as tables or as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli import run
from mahavishnu_sched_mcp.cli.ask import NO_LEDGER
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.settings import load_settings
from tests.factories import NO_CHORES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPE = "\x1b[31mred\x1b[0m [bold]loud[/bold]"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data dir with two jobs and one finished run."""
    folder = tmp_path_factory.mktemp("asked")
    nodes = [{"id": "greet", "task": "greet"}]
    text = yaml.safe_dump(
        {
            "internal_tasks": NO_CHORES,
            "tasks": {"modules": ["tests.factories"]},
            "workflows": {"greeting": {"description": ESCAPE, "nodes": nodes}},
        }
    )
    (folder / "mahavishnu.yaml").write_text(text)
    asyncio.run(_fill(folder))
    return folder


async def _fill(folder: Path) -> None:
    settings = load_settings(
        config=folder / "mahavishnu.yaml", data_dir=folder / "data", environ={}
    )
    async with MahavishnuApp(settings).lifecycle() as app:
        scheduler = app.scheduler
        hourly = TriggerRequest(type="interval", hours=1)
        await scheduler.schedule_internal_task("greet", trigger=hourly, id="hello")
        await scheduler.pause_job("apscheduler:hello", note="for a while")
        await scheduler.schedule_internal_task("greet", trigger=hourly, id="other")
        await scheduler.run_job_now("apscheduler:other", wait_seconds=10)


@pytest.fixture(autouse=True)
def unchanged_warnings() -> Iterator[None]:
    """Give the warnings back, which the commands send to the log."""
    show = warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show


class Asked:
    """What a command said, and its exit code."""

    def __init__(self, place: Path, capture: pytest.CaptureFixture[str], *words: str) -> None:
        """Run the command."""
        options = ["--data-dir", str(place / "data"), "--config", str(place / "mahavishnu.yaml")]
        self.code = run([*words, *options])
        self.out, self.err = capture.readouterr()

    @property
    def json(self) -> dict[str, Any]:
        """Read what was said as JSON."""
        value: dict[str, Any] = json.loads(self.out)
        return value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["jobs"], ["apscheduler:hello", "paused", "every hour", "for a while", "2 jobs in all"]),
        (["jobs", "--backend", "prefect"], ["0 jobs in all"]),
        (["runs"], ["apscheduler:other", "succeeded", "manual", "1 runs in all"]),
        (["runs", "apscheduler:hello"], ["0 runs in all"]),
        (["status"], ["needs attention", "apscheduler", "prefect", "Newest leader: process"]),
        (["catalog"], ["greet", "name, times", "greeting", "node greet", "sqlite"]),
        (["catalog", "remind"], ["remind", "message*", "1 entries in all"]),
        (["preview", "0 2 * * 1-5"], ["at 02:00, Monday through Friday", "T02:00:00+00:00"]),
        (["classify", "health_check"], ["apscheduler", "rule 5", "schedule_internal_task"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_question_is_answered_as_a_table(
    words: list[str], said: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each asking command prints its answer, and nothing but the answer, to stdout."""
    asked = Asked(place, capsys, *words)

    assert (asked.code, asked.err) == (0, "")
    assert [text for text in said if text not in asked.out] == []


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["jobs"], {"jobs", "total", "next_cursor", "engines"}),
        (["runs"], {"runs", "total", "next_cursor"}),
        (["status"], {"now", "leader", "engines", "queues", "counts", "attention"}),
        (
            ["catalog"],
            {"tasks", "workflows", "flows", "providers", "total", "next_cursor"},
        ),
        (["preview", "@daily"], {"in_words", "fires", "warnings"}),
        (
            ["classify", "greet"],
            {
                "backend",
                "confidence",
                "reasons",
                "alternatives",
                "characteristics",
                "warnings",
                "next_call",
            },
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_for_machines_the_answer_is_the_tools(
    words: list[str], keys: set[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json the shape is that of the tool's structured answer."""
    asked = Asked(place, capsys, *words, "--json")

    assert asked.code == 0
    assert set(asked.json) == keys


def test_asking_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question never takes the lead: the term stays, no fire is made, the lock is free."""
    before = Asked(place, capsys, "status", "--json").json
    jobs = Asked(place, capsys, "jobs", "--json").json["jobs"]
    after = Asked(place, capsys, "status", "--json").json

    assert after["leader"] == before["leader"]
    assert after["leader"]["is_this_process"] is False
    assert after["counts"] == before["counts"]
    assert [job["state"] for job in jobs] == ["paused", "active"]


def test_a_strangers_text_cannot_colour_the_terminal(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences are gone, and markup is text."""
    asked = Asked(place, capsys, "catalog")

    assert "\x1b" not in asked.out
    assert "red [bold]loud[/bold]" in asked.out


def test_count_and_zone_are_heard(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options of `preview` are those of preview_schedule."""
    words = ["preview", "0 2 * * *", "--timezone", "Europe/Paris", "--count", "3", "--json"]

    fires = Asked(place, capsys, *words).json["fires"]

    assert [datetime.fromisoformat(fire).hour for fire in fires] == [2, 2, 2]
    assert not any(fire.endswith("+00:00") for fire in fires)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs", "--state", "succeded"], "Did you mean 'succeeded'?"),
        (["jobs", "--state", "xyzzy"], "Choose one of pending"),
        (["jobs", "--limit", "201"], "--limit 201 is not between 1 and 200"),
        (["preview", "* * *"], "[invalid_trigger]"),
        (["preview", "@daily", "--count", "0"], "--count 0"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_wrong_usage_exits_with_2_and_says_the_mend(
    words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be asked so is one line on stderr."""
    asked = Asked(place, capsys, *words)

    assert (asked.code, asked.out) == (2, "")
    assert said in asked.err
    assert len(asked.err.splitlines()) == 1


def test_an_unknown_job_exits_with_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question without an answer has failed, and names the command that helps."""
    asked = Asked(place, capsys, "runs", "apscheduler:nope")

    assert (asked.code, asked.out) == (1, "")
    assert "[job_not_found]" in asked.err
    assert "`jobs` lists them all" in asked.err


@pytest.mark.parametrize(
    "words",
    [["jobs"], ["runs"], ["runs", "apscheduler:x"], ["status"], ["catalog"],
     ["preview", "@daily"], ["classify", "health_check"]],
    ids=" ".join,
)  # fmt: skip
def test_looking_at_a_new_data_dir_leaves_it_empty(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing was ever scheduled that is the answer, and no ledger is made."""
    tmp_path.chmod(0o700)
    is_of_ledger = words[0] in {"jobs", "runs", "status"}

    code = run([*words, "--data-dir", str(tmp_path)])

    said = capsys.readouterr().out
    assert code == 0
    assert (said == f"{NO_LEDGER}\n") is is_of_ledger
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("jobs", {"jobs": [], "total": 0}),
        ("runs", {"runs": [], "total": 0}),
        ("status", {"attention": ["No server leads this data dir: nothing fires now."]}),
    ],
)
def test_for_machines_a_new_data_dir_has_the_usual_shape(
    command: str,
    expected: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """JSON is JSON: the sentence goes to stderr."""
    tmp_path.chmod(0o700)

    code = run([command, "--json", "--data-dir", str(tmp_path)])

    said, noted = capsys.readouterr()
    view = json.loads(said)
    assert (code, noted) == (0, f"{NO_LEDGER}\n")
    assert {name: view[name] for name in expected} == expected
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the key and the mend are on stderr."""
    (tmp_path / "mahavishnu.yaml").write_text("limts: {}\n")

    asked = Asked(tmp_path, capsys, "jobs")

    assert (asked.code, asked.out) == (2, "")
    assert "limits" in asked.err
