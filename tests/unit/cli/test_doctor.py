"""`doctor` says what is wrong with an installation and how to mend it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli import run
from mahavishnu_sched_mcp.diagnosis import diagnose
from mahavishnu_sched_mcp.settings import Settings
from mahavishnu_sched_mcp.settings.token import TOKEN_FILE, obtain_token

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from mahavishnu_sched_mcp.domain.finding import Finding


def found(settings: Settings, part: str) -> Finding:
    """Give what the diagnosis says of one part."""
    return next(finding for finding in diagnose(settings) if finding.part == part)


async def test_a_running_server_is_found_by_its_lock(tmp_path: Path) -> None:
    """Jobs fire only while a server runs: doctor says whether one does."""
    settings = Settings(data_dir=tmp_path)

    before = found(settings, "leader")
    async with MahavishnuApp(settings).lifecycle():
        during = found(settings, "leader")
    after = found(settings, "leader")

    assert [before.ok, during.ok, after.ok] == [True, True, True]
    assert "nothing fires now" in before.detail
    assert "leads since" in during.detail
    assert "nothing fires now" in after.detail
    assert "mahavishnu-sched-mcp serve" in after.mend


async def test_a_damaged_ledger_is_named_and_not_touched(tmp_path: Path) -> None:
    """A ledger that cannot be trusted is reported with the mend."""
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)

    finding = found(Settings(data_dir=tmp_path), "ledger")

    assert not finding.ok
    assert "backup" in finding.mend
    assert (tmp_path / "ledger.db").read_bytes() == b"no database at all" * 100


def test_a_data_dir_that_others_can_read_is_named(tmp_path: Path) -> None:
    """The data dir is for its owner alone."""
    tmp_path.chmod(0o755)

    finding = found(Settings(data_dir=tmp_path), "data dir")

    assert not finding.ok
    assert finding.mend == f"chmod 700 {tmp_path}"


def test_the_token_is_looked_at_where_there_is_one(tmp_path: Path) -> None:
    """Doctor says whether others can read the token, makes none, and never shows it."""
    settings = Settings(data_dir=tmp_path)
    before = [finding.part for finding in diagnose(settings)]
    token = obtain_token(settings).get_secret_value()

    private = found(settings, "http token")
    (tmp_path / TOKEN_FILE).chmod(0o644)
    public = found(settings, "http token")

    assert "http token" not in before
    assert (private.ok, private.detail) == (True, f"{tmp_path / TOKEN_FILE} has mode 0600")
    assert not public.ok
    assert "mode 0644" in public.detail
    assert "chmod 600" in public.mend
    assert token not in f"{private}{public}"


def test_a_weak_token_in_the_settings_is_named(tmp_path: Path) -> None:
    """What would stop the start over HTTP is told before."""
    settings = Settings.model_validate({"data_dir": tmp_path, "http": {"token": "abc"}})

    finding = found(settings, "http token")

    assert not finding.ok
    assert "3 characters" in finding.detail


def test_a_prefect_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """The user's own Prefect server is asked, within a second."""
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "schedulers": {"prefect_server_url": "http://127.0.0.1:9/api"},
        }
    )

    finding = found(settings, "prefect")

    assert not finding.ok
    assert "prefect server start" in finding.mend


def test_settings_without_effect_are_named(tmp_path: Path) -> None:
    """A key that this version does not honour is no silent no-op."""
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "schedulers": {"fallback": {"prefect": "oneiric"}}}
    )

    assert "schedulers.fallback" in found(settings, "settings").detail


def test_a_fresh_installation_is_fine_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No server runs yet: that is told with the way to start one, and is no defect."""
    tmp_path.chmod(0o700)

    code = run(["doctor", "--json", "--data-dir", str(tmp_path)])

    findings = {one["part"]: one for one in json.loads(capsys.readouterr().out)}
    assert code == 0
    assert all(one["ok"] for one in findings.values())
    assert "serve" in findings["leader"]["mend"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_fails_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says whether anything has to be mended."""
    tmp_path.chmod(0o700)
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)

    code = run(["doctor", "--json", "--data-dir", str(tmp_path)])

    findings = json.loads(capsys.readouterr().out)
    assert code == 1
    assert [one["part"] for one in findings if not one["ok"]] == ["ledger"]
