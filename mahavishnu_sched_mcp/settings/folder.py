"""The data dir: ours alone, or the start is refused."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def prepare_data_dir(path: Path) -> Path:
    """Make the data dir with mode 0700 where it is missing, and check that it is ours alone.

    Args:
        path: The data dir; a folder that exists keeps its mode.

    Returns:
        The same path, absolute.

    Raises:
        SettingsError: it is a symbolic link, no folder, another user's, or writable by others.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        reason = error.strerror or "it cannot be made"
        raise _refusal(
            path, f"cannot be used: {reason}", "Choose another with --data-dir"
        ) from error
    if stat.S_ISLNK(found.st_mode):
        raise _refusal(path, "is a symbolic link", "Give the folder itself with --data-dir")
    if os.geteuid() not in {0, found.st_uid}:
        raise _refusal(path, "belongs to another user", "Choose another with --data-dir")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise _refusal(path, f"is writable by others (mode {mode:04o})", f"Run `chmod 700 {path}`")
    return path


def _refusal(path: Path, why: str, mend: str) -> SettingsError:
    return SettingsError(f"data_dir '{path}' {why}.", hint=f"{mend}.")
