"""The data dir: ours alone, or the start is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = (
    *("nfs", "cifs", "smb", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "ncpfs", "coda"),
)
"""How the types of file systems begin whose locks and shared memory SQLite cannot trust."""


def prepare_data_dir(path: Path) -> Path:
    """Make the data dir with mode 0700 where it is missing, and check that it is ours alone.

    Args:
        path: The data dir; a folder that exists keeps its mode.

    Returns:
        The same path, absolute.

    Raises:
        SettingsError: it is a symbolic link, no folder, another user's, writable by others, or on
            a network file system.
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
    kind = file_system_of(path)
    if kind.startswith(_NETWORK):
        why = f"lies on a network file system ({kind}), where servers cannot see each other's locks"
        raise _refusal(path, why, "Choose a folder on a local disk with --data-dir")
    return path


def file_system_of(path: Path, *, mounts: Path = _MOUNTS) -> str:
    """Name the type of the file system a folder is on, such as `ext4`; empty where nothing says.

    Args:
        path: An existing folder.
        mounts: The kernel's table of mounts (Linux).
    """
    real, best, kind = path.resolve(), Path("/"), ""
    for point, found in _mounted(mounts):
        if real.is_relative_to(point) and point.is_relative_to(best):
            best, kind = point, found
    return kind


def _mounted(mounts: Path) -> Iterator[tuple[Path, str]]:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        yield Path(point), after.split(" ")[0]


def _refusal(path: Path, why: str, mend: str) -> SettingsError:
    return SettingsError(f"data_dir '{path}' {why}.", hint=f"{mend}.")
