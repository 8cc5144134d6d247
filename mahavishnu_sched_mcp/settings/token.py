"""The secret of the HTTP transport: from the settings, else from a file of our own."""

from __future__ import annotations

import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from pydantic import SecretStr

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings.complaint import Complaint, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from mahavishnu_sched_mcp.settings.model import Settings

TOKEN_FILE = "http.token"  # noqa: S105 - the name of the file
"""In the data dir."""

LEAST_LENGTH = 32
"""Characters; what we make ourselves has 43, for 32 random bytes."""

_KEY = ("http", "token")
_MEND = (
    'Write what `python -c "import secrets; print(secrets.token_urlsafe(32))"` prints,'
    " or leave http.token out: then the first start makes one."
)
_SENDABLE = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_PLACEHOLDER = re.compile(r"change.?me|replace.?me|your.?token|placeholder|default", re.IGNORECASE)
_LEAST_DIFFERENT = 8
_LONGEST_FILE = 4096
_PRIVATE_MODE = 0o600


def obtain_token(settings: Settings) -> SecretStr:
    """Give the token that HTTP clients have to send; made at the first start.

    Args:
        settings: `http.token` wins over the file in the data dir.

    Raises:
        SettingsError: the token is empty, short or a placeholder, or its file may be read by
            others than its owner.
    """
    given = settings.http.token
    if given is None:
        return _kept_token(settings.data_path / TOKEN_FILE)
    why = find_weakness(given.get_secret_value())
    if why:
        raise refuse([Complaint(_KEY, f"http.token {why}.", _MEND)], origins=settings.origins)
    return given


def find_weakness(token: str) -> str:
    """Say why a token protects nothing; empty where it does.

    Args:
        token: Never part of the answer.
    """
    if not token.strip():
        return "is empty"
    if _SENDABLE.fullmatch(token) is None:
        return "has characters that no Authorization header carries"
    if len(token) < LEAST_LENGTH:
        return f"has {len(token)} characters, {LEAST_LENGTH} are needed"
    if len(set(token)) < _LEAST_DIFFERENT or _PLACEHOLDER.search(token):
        return "is a placeholder, no secret"
    return ""


def _kept_token(path: Path) -> SecretStr:
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
        return _read(path)


def _read(path: Path) -> SecretStr:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "is a symbolic link" if path.is_symlink() else "cannot be read"
        raise _refusal(path, why, f"Remove {path}") from error
    try:
        _check_access(path, os.fstat(descriptor))
        token = os.read(descriptor, _LONGEST_FILE).decode("ascii", errors="replace")
    finally:
        os.close(descriptor)
    token = token.rstrip("\r\n")
    why = find_weakness(token)
    if why:
        mend = f"Remove {path}; the next start over HTTP makes a new one"
        raise _refusal(path, f"holds a token that {why}", mend)
    return SecretStr(token)


def _check_access(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(path, "is no file", f"Remove {path}")
    if os.geteuid() not in {0, found.st_uid}:
        raise _refusal(path, "belongs to another user", f"Remove {path}")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(found.st_mode)
        why = f"can be read or written by others (mode {mode:04o})"
        raise _refusal(path, why, f"Others may know the token: remove {path}, or `chmod 600` it")


def _make(path: Path) -> None:
    """Write a new token whole before it has its name: another server may start just now."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, flags, _PRIVATE_MODE), "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:  # the other one was sooner; its token is the token
            return
        finally:
            draft.unlink()
    except OSError as error:
        why = f"cannot be made: {error.strerror or type(error).__name__}"
        raise _refusal(path, why, "Make room in the data dir, or set http.token") from error


def _refusal(path: Path, why: str, mend: str) -> SettingsError:
    return SettingsError(f"The token file '{path}' {why}.", hint=f"{mend}.")
