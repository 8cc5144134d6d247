"""The demonstration's own folder: files to back up, settings, and nothing of the user's."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mahavishnu_sched_mcp.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.value import JsonObject

WORKFLOW = "nightly_backup"
_PAGES = {
    "index.html": "<h1>A small website</h1>\n",
    "about.html": "<p>Backed up every night.</p>\n",
    "style.css": "h1 { font-weight: 300 }\n",
}
_FOREIGN = ("MAHAVISHNU_", "PREFECT_", "FASTMCP_")


@dataclass(frozen=True)
class Stage:
    """One folder with all that the demonstration needs.

    Attributes:
        folder: Absolute, without symbolic links, and nobody else's.
    """

    folder: Path

    @property
    def data_dir(self) -> Path:
        """The server's data dir."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        """The server's settings."""
        return self.folder / "mahavishnu.yaml"

    @property
    def log(self) -> Path:
        """What the server wrote to stderr."""
        return self.folder / "server.log"

    @property
    def website(self) -> Path:
        """What is backed up."""
        return self.folder / "website"

    def archive(self, name: str) -> Path:
        """Give the file that the workflow makes for an `archive` parameter."""
        return self.folder / "archives" / f"{name}.tar"

    def prepare(self) -> None:
        """Write the files and the settings.

        Raises:
            SettingsError: this machine has no tar.
        """
        self.website.mkdir(parents=True)
        self.archive("any").parent.mkdir()
        for name, text in _PAGES.items():
            (self.website / name).write_text(text, encoding="utf-8")
        text = yaml.safe_dump(self._settings(), sort_keys=False)
        self.config.write_text(text, encoding="utf-8")

    def command(self) -> list[str]:
        """Say how a client starts the server here."""
        program = [sys.executable, "-m", "mahavishnu_sched_mcp", "serve"]
        return [*program, "--data-dir", str(self.data_dir), "--config", str(self.config)]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Give the server's environment: the caller's without any setting of theirs.

        The data dir stands in it too, so that every process that descends from the server
        can be told by it.
        """
        kept = {name: text for name, text in inherited.items() if not name.startswith(_FOREIGN)}
        return kept | {"MAHAVISHNU_DATA_DIR": str(self.data_dir), "MAHAVISHNU_LOG_LEVEL": "INFO"}

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self) -> JsonObject:
        tar = shutil.which("tar", path=os.defpath) or shutil.which("tar")
        if tar is None:
            msg = "The demonstration backs up files with tar, and there is none on this machine."
            raise SettingsError(msg, hint="Install tar, then run `mahavishnu-sched-mcp demo`.")
        archive = str(self.archive("any").with_stem("{archive}"))
        program = str(Path(tar).resolve())
        pack = ["--create", "--file", archive, "--directory", str(self.website), *sorted(_PAGES)]
        verify = ["--list", "--verbose", "--file", archive]
        return {
            "tasks": {
                "commands": {
                    "pack_website": _command("Pack the website", [program, *pack]),
                    "verify_archive": _command("Read a whole archive", [program, *verify]),
                }
            },
            "workflows": {
                WORKFLOW: {
                    "description": "Back up the website, then verify the archive",
                    "nodes": [
                        {"id": "pack", "task": "pack_website"},
                        {"id": "verify", "task": "verify_archive", "depends_on": ["pack"]},
                    ],
                }
            },
        }


def _command(description: str, argv: list[str]) -> JsonObject:
    return {
        "description": description,
        "argv": argv,
        "params": {"archive": {"type": "string", "pattern": "^[a-z]{1,20}$"}},
        "timeout_seconds": 30,
        "idempotent": True,
    }
