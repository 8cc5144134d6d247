"""Where the Prefect engine keeps its files."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT_BYTES = 4_000_000

CLIENT_LOGGING = """\
version: 1
incremental: true
loggers:
  prefect: {level: WARNING}
"""

WORKER_LOGGING = """\
version: 1
disable_existing_loggers: false
formatters:
  line: {format: "%(asctime)s %(levelname)s %(name)s %(message)s"}
handlers:
  api: {class: prefect.logging.handlers.APILogHandler, level: 0}
  file: {class: logging.StreamHandler, level: WARNING, formatter: line}
loggers:
  prefect: {level: WARNING, handlers: [file], propagate: false}
  prefect.flow_runs: {level: INFO, handlers: [api], propagate: false}
  prefect.task_runs: {level: INFO, handlers: [api], propagate: false}
  prefect.workers: {level: WARNING}
"""


@dataclass(frozen=True)
class Place:
    """The engine's folder and the files in it.

    Attributes:
        data_dir: The product's data folder; everything of this engine is under `prefect/`.
    """

    data_dir: Path

    @property
    def root(self) -> Path:
        """The folder of this engine, also Prefect's home."""
        return self.data_dir / "prefect"

    @property
    def database(self) -> Path:
        """The embedded server's database."""
        return self.root / "prefect.db"

    @property
    def client_logging(self) -> Path:
        """How Prefect logs in our own process: levels only, our handlers stay."""
        return self.root / "logging-client.yaml"

    @property
    def worker_logging(self) -> Path:
        """How Prefect logs in its own processes: runs to the API, troubles to the file."""
        return self.root / "logging-worker.yaml"

    @property
    def worker_ready(self) -> Path:
        """Made by the worker when it takes work."""
        return self.root / "worker.ready"

    def log(self, name: str) -> Path:
        """Give the log of a child process."""
        return self.root / f"{name}.log"

    def identity(self, name: str) -> Path:
        """Give the file that names a child process beyond the reuse of its number."""
        return self.root / f"{name}.pid"

    def prepare(self) -> None:
        """Make the folder, private to its owner, and the logging files. Idempotent."""
        self._make_root()
        self.client_logging.write_text(CLIENT_LOGGING, encoding="utf-8")
        self.worker_logging.write_text(WORKER_LOGGING, encoding="utf-8")

    def instance(self) -> str:
        """Give the lasting random name of this data folder, made on first need."""
        path = self.root / "instance"
        if path.exists() and (name := path.read_text(encoding="utf-8").strip()):
            return name
        self._make_root()
        name = secrets.token_hex(4)
        path.write_text(name, encoding="utf-8")
        return name

    def last_port(self) -> int | None:
        """Give the port the embedded server had last, so that addresses stay good."""
        try:
            return int((self.root / "port").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start."""
        (self.root / "port").write_text(str(port), encoding="utf-8")

    def _make_root(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
