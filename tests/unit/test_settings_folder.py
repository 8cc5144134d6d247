"""Where the data dir lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings import folder
from mahavishnu_sched_mcp.settings.folder import file_system_of, prepare_data_dir

if TYPE_CHECKING:
    from pathlib import Path

LINE = "36 35 0:33 / {point} rw,relatime shared:1 - {kind} server:/export rw\n"


def a_table(tmp_path: Path, **kinds: str) -> Path:
    """Write a table of mounts: the root is ext4, folders of `tmp_path` have kinds of their own."""
    table = tmp_path / "mountinfo"
    lines = [LINE.format(point="/", kind="ext4")]
    for name, kind in kinds.items():
        (tmp_path / name).mkdir()
        lines.append(LINE.format(point=tmp_path / name, kind=kind))
    table.write_text("".join(lines), encoding="utf-8")
    return table


def test_the_innermost_mount_says_what_a_folder_is_on(tmp_path: Path) -> None:
    """A folder beside a mount is not on it."""
    table = a_table(tmp_path, share="nfs4")
    (tmp_path / "shared").mkdir()

    assert file_system_of(tmp_path / "share", mounts=table) == "nfs4"
    assert file_system_of(tmp_path / "shared", mounts=table) == "ext4"
    assert file_system_of(tmp_path, mounts=tmp_path / "missing") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_a_data_dir_on_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers there could not see each other, and both would fire."""
    table = a_table(tmp_path, share=kind)
    monkeypatch.setattr(folder, "file_system_of", lambda path: file_system_of(path, mounts=table))

    with pytest.raises(SettingsError, match=rf"network file system \({kind}\).*--data-dir"):
        prepare_data_dir(tmp_path / "share")
    assert prepare_data_dir(tmp_path / "local").is_dir()
