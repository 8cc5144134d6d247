"""The token of the HTTP transport: always there, always a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings import Settings, load_settings
from mahavishnu_sched_mcp.settings.token import TOKEN_FILE, obtain_token

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "q7Rk2v-Xw9_TzB4mNc8LpYhDs3GfJa6EuKoIi1Q"


def refused(folder: Path, **http: object) -> str:
    """Give what is said where no token can be had."""
    settings = Settings.model_validate({"data_dir": folder, "http": http})
    with pytest.raises(SettingsError) as caught:
        obtain_token(settings)
    return str(caught.value)


def test_the_first_start_makes_a_token_for_its_owner_alone(tmp_path: Path) -> None:
    """The file has mode 0600 and 32 random bytes, and later starts keep it."""
    settings = Settings(data_dir=tmp_path)

    first, second = obtain_token(settings), obtain_token(settings)

    file = tmp_path / TOKEN_FILE
    assert file.stat().st_mode & 0o7777 == 0o600
    assert first.get_secret_value() == second.get_secret_value() == file.read_text().strip()
    assert len(first.get_secret_value()) == 43
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN_FILE]


def test_no_two_installations_share_a_token(tmp_path: Path) -> None:
    """Each data dir has a token of its own."""
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()

    tokens = {obtain_token(Settings(data_dir=folder)).get_secret_value() for folder in folders}

    assert len(tokens) == 5


def test_servers_that_start_at_once_agree_on_the_token(tmp_path: Path) -> None:
    """Of several first starts one makes the token; none reads half of it."""
    program = (
        "import pathlib, sys\n"
        "from mahavishnu_sched_mcp.settings import Settings\n"
        "from mahavishnu_sched_mcp.settings.token import obtain_token\n"
        "settings = Settings(data_dir=pathlib.Path(sys.argv[1]))\n"
        "sys.stdin.readline()\n"
        "print(obtain_token(settings).get_secret_value())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    said = {process.communicate(timeout=30)[0] for process in processes}

    assert {process.returncode for process in processes} == {0}
    assert said == {(tmp_path / TOKEN_FILE).read_text()}


def test_a_setting_wins_over_the_file(tmp_path: Path) -> None:
    """With `http.token` no file is made."""
    settings = Settings.model_validate({"data_dir": tmp_path, "http": {"token": GOOD}})

    assert obtain_token(settings).get_secret_value() == GOOD
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("\t\n", "is empty"),
        ("short", "5 characters"),
        (GOOD[:31], "31 characters"),
        ("a" * 40, "placeholder"),
        ("changeme" * 5, "placeholder"),
        ("Please-Change-Me-0123456789-abcdefgh", "placeholder"),
        ("your-token-goes-here-0123456789-abc", "placeholder"),
        ("default-0123456789-abcdefghijklmnop", "placeholder"),
        (f"{GOOD} {GOOD}", "no Authorization header"),
        (f"{GOOD}\u00e9", "no Authorization header"),
    ],
)
def test_a_token_that_protects_nothing_is_refused(token: str, why: str, tmp_path: Path) -> None:
    """Empty, blank, short and default tokens stop the start, in the settings and in the file."""
    said = refused(tmp_path, token=token)
    file = tmp_path / TOKEN_FILE
    file.write_text(token, encoding="latin-1")
    file.chmod(0o600)
    said_of_file = refused(tmp_path)

    assert why in said
    assert why in said_of_file
    assert "secrets.token_urlsafe(32)" in said
    assert f"Remove {file}" in said_of_file
    assert not token.strip() or token not in said + said_of_file


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o620, 0o602, 0o660, 0o666, 0o777])
def test_a_file_that_others_can_reach_is_refused(mode: int, tmp_path: Path) -> None:
    """A token that others may have read or written is no secret; the mend is named."""
    file = tmp_path / TOKEN_FILE
    file.write_text(GOOD)
    file.chmod(mode)

    said = refused(tmp_path)

    assert f"mode {mode:04o}" in said
    assert "chmod 600" in said
    assert GOOD not in said


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_ones_own_is_read(mode: int, tmp_path: Path) -> None:
    """The operator may write the file, and protect it from writing too."""
    file = tmp_path / TOKEN_FILE
    file.write_text(f"{GOOD}\n")
    file.chmod(mode)

    assert obtain_token(Settings(data_dir=tmp_path)).get_secret_value() == GOOD


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A link may lead to a file of someone else's; a folder holds no token."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(GOOD)
    elsewhere.chmod(0o600)
    file = tmp_path / TOKEN_FILE
    file.symlink_to(elsewhere)
    said_of_link = refused(tmp_path)
    file.unlink()
    file.mkdir()

    assert "is a symbolic link" in said_of_link
    assert "is no file" in refused(tmp_path)


def test_a_data_dir_without_room_is_told(tmp_path: Path) -> None:
    """Where no token can be written, the start says so."""
    said = refused(tmp_path / "missing")

    assert "cannot be made" in said
    assert "http.token" in said


def test_a_blank_variable_is_no_wish_for_the_default(tmp_path: Path) -> None:
    """An empty MAHAVISHNU_HTTP__TOKEN is refused, and named; `null` asks for the file."""
    blank = load_settings(data_dir=tmp_path, environ={"MAHAVISHNU_HTTP__TOKEN": " "})
    nothing = load_settings(data_dir=tmp_path, environ={"MAHAVISHNU_HTTP__TOKEN": "null"})

    with pytest.raises(SettingsError, match=r"MAHAVISHNU_HTTP__TOKEN: http\.token is empty"):
        obtain_token(blank)
    assert len(obtain_token(nothing).get_secret_value()) == 43


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("allowed_hosts: ['*']", "without port, scheme or '*'"),
        ("allowed_hosts: ['a.example:8765']", "without port, scheme or '*'"),
        ("allowed_hosts: ['https://a.example']", "without port, scheme or '*'"),
        ("allowed_origins: ['*']", "scheme://host"),
        ("allowed_origins: ['https://*.a.example']", "scheme://host"),
        ("allowed_origins: ['https://a.example/page']", "scheme://host"),
        ("allowed_origins: ['null']", "scheme://host"),
    ],
)
def test_only_whole_names_can_be_allowed(text: str, mend: str, tmp_path: Path) -> None:
    """Hosts and origins are compared exactly: a pattern would be none, and is refused."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(f"http: {{{text}}}", encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        load_settings(config=config, data_dir=tmp_path / "data", environ={})

    assert mend in str(caught.value)


def test_names_addresses_and_origins_can_be_allowed(tmp_path: Path) -> None:
    """Host names, both kinds of addresses, and origins with and without port."""
    http = {
        "allowed_hosts": ["a.example", "10.0.0.5", "fd00::5"],
        "allowed_origins": ["https://a.example", "http://127.0.0.1:3000", "http://[::1]:3000"],
    }

    settings = Settings.model_validate({"data_dir": tmp_path, "http": http})

    assert settings.model_dump(mode="json")["http"] == http | {"token": None}
