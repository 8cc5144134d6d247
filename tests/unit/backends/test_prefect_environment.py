"""What Prefect's processes read from their environment, and what a child is to its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from mahavishnu_sched_mcp.backends.prefect.child import ChildProcess, started_of
from mahavishnu_sched_mcp.backends.prefect.environment import (
    client_environment,
    server_environment,
    worker_environment,
)
from mahavishnu_sched_mcp.backends.prefect.overdue import to_skip
from mahavishnu_sched_mcp.backends.prefect.place import Place
from mahavishnu_sched_mcp.backends.prefect.records import RUN_TAG, FlowRunRecord
from mahavishnu_sched_mcp.domain.policy import MissedPolicy, Policies

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
USERS_OWN = {
    "PREFECT_API_URL": "http://else",
    "PREFECT_API_SSL_CERT_FILE": "ca.pem",
    "PATH": "/bin",
}


def late(minutes: int, *, tags: tuple[str, ...] = ()) -> FlowRunRecord:
    """Make a flow run that was due so many minutes ago."""
    return FlowRunRecord(
        id=str(minutes),
        deployment_id="d",
        state_type="SCHEDULED",
        state_name="Late",
        expected_start=NOON - timedelta(minutes=minutes),
        tags=tags,
    )


def test_no_process_makes_an_ephemeral_server(tmp_path: Path) -> None:
    """An ephemeral server answers and never schedules: it is switched off everywhere."""
    place = Place(tmp_path)
    environments = [
        client_environment(place),
        server_environment(place, port=1, ui=True, inherited={}),
        worker_environment(
            place, api_url="u", api_key=None, config_path=None, is_embedded=True, inherited={}
        ),
    ]

    switches = [one["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] for one in environments]

    assert switches == ["false", "false", "false"]


def test_the_embedded_server_keeps_to_itself(tmp_path: Path) -> None:
    """Its files are in the data folder, it calls nobody, and only its own pages may call it."""
    found = server_environment(Place(tmp_path), port=4711, ui=False, inherited=USERS_OWN)

    assert found["PREFECT_API_DATABASE_CONNECTION_URL"].endswith(f"{tmp_path}/prefect/prefect.db")
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4711"
    assert found["PREFECT_SERVER_UI_ENABLED"] == "false"
    assert "PREFECT_API_SSL_CERT_FILE" not in found
    assert (found["PREFECT_API_URL"], found["PATH"]) == ("http://127.0.0.1:4711/api", "/bin")


@pytest.mark.parametrize("is_embedded", [True, False])
def test_the_worker_takes_the_users_variables_for_the_users_server_only(
    tmp_path: Path, *, is_embedded: bool
) -> None:
    """A certificate of the user's own server is needed there and wrong elsewhere."""
    found = worker_environment(
        Place(tmp_path),
        api_url="http://here/api",
        api_key="key",
        config_path=Path("/etc/mahavishnu.yaml"),
        is_embedded=is_embedded,
        inherited=USERS_OWN | client_environment(Place(tmp_path)),
    )

    assert found["PREFECT_CLIENT_MAX_RETRIES"] == "5"
    assert ("PREFECT_API_SSL_CERT_FILE" in found) is not is_embedded
    assert (found["PREFECT_API_URL"], found["PREFECT_API_KEY"]) == ("http://here/api", "key")
    assert found["MAHAVISHNU_CONFIG"] == "/etc/mahavishnu.yaml"
    assert found["MAHAVISHNU_DATA_DIR"] == str(tmp_path)


def test_our_handlers_survive_the_import_of_prefect(tmp_path: Path) -> None:
    """In our process Prefect may set levels, and may not replace a handler."""
    place = Place(tmp_path)
    place.prepare()

    config = yaml.safe_load(place.client_logging.read_text(encoding="utf-8"))

    assert config["incremental"] is True
    assert not {"root", "handlers"} & config.keys()


def test_the_name_of_a_data_folder_lasts(tmp_path: Path) -> None:
    """Two folders on one server are told apart, and one stays itself over restarts."""
    here, there = Place(tmp_path / "a"), Place(tmp_path / "b")
    here.prepare()
    there.prepare()

    names = [here.instance(), Place(tmp_path / "a").instance(), there.instance()]

    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("policies", "skipped"),
    [
        (Policies(missed_policy=MissedPolicy.SKIP), ["90", "60", "2"]),
        (Policies(missed_policy=MissedPolicy.RUN_ONCE), ["90", "60"]),
        (Policies(missed_policy=MissedPolicy.RUN_ALL, catchup_window_seconds=4000), ["90"]),
    ],
)
def test_missed_fires_follow_the_jobs_policy(policies: Policies, skipped: list[str]) -> None:
    """Prefect alone would start every overdue run; a run asked for by hand is always kept."""
    waiting = [late(2), late(90), late(60), late(0), late(80, tags=(f"{RUN_TAG}r1",))]

    found = to_skip(waiting, policies=policies, now=NOON, grace=timedelta(minutes=1))

    assert [record.id for record in found] == skipped


def test_the_grace_is_the_operators() -> None:
    """A run that is late by less than the grace starts, whatever the policy for missed ones."""
    policies = Policies(missed_policy=MissedPolicy.SKIP)

    found = to_skip([late(90), late(2)], policies=policies, now=NOON, grace=timedelta(minutes=5))

    assert [record.id for record in found] == ["90"]


async def test_a_child_of_an_earlier_parent_is_ended(tmp_path: Path) -> None:
    """A process left over is found by number and start time, and gone before the next starts."""
    place = Place(tmp_path)
    place.prepare()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    left_over = await asyncio.create_subprocess_exec(*sleep)
    identity = {"pid": left_over.pid, "started": started_of(left_over.pid)}
    place.identity("server").write_text(json.dumps(identity), encoding="utf-8")

    await ChildProcess("server", place=place).clear_stale()

    assert await left_over.wait() == -signal.SIGTERM
    assert not place.identity("server").exists()


async def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    """A number used again names another process: it is never signalled."""
    place = Place(tmp_path)
    place.prepare()
    identity = {"pid": os.getpid(), "started": "long ago"}
    place.identity("server").write_text(json.dumps(identity), encoding="utf-8")

    await ChildProcess("server", place=place).clear_stale()

    assert not place.identity("server").exists()
