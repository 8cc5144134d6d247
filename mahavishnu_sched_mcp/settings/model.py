"""All settings in one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import platformdirs
from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from mahavishnu_sched_mcp.domain.workflow import Workflow
from mahavishnu_sched_mcp.errors import nearest
from mahavishnu_sched_mcp.settings.document import Origins
from mahavishnu_sched_mcp.settings.queue import QueueSettings
from mahavishnu_sched_mcp.settings.room import (
    DeadLetterSettings,
    GitPollingSettings,
    HttpSettings,
    InternalTaskSettings,
    LimitSettings,
    NotificationSettings,
    PrefectSettings,
    RetentionSettings,
    SchedulerSettings,
    SecretSettings,
)
from mahavishnu_sched_mcp.settings.slice import DottedPath, Name, Slice, refusal
from mahavishnu_sched_mcp.settings.work import TaskSettings, WorkflowSettings

APPLICATION = "mahavishnu-sched-mcp"


class Settings(Slice):
    """What the operator decided; read it with `load_settings`.

    A `Settings()` made in Python has the defaults and looks at no file and no environment.
    """

    data_dir: Path | None = Field(
        default=None, description="folder of ledger and queues; null = platform default"
    )
    ledger_url: SecretStr | None = Field(default=None, description="null = SQLite in the data dir")
    timezone: str = Field(default="UTC", description="IANA name; default for triggers without one")
    schedulers: SchedulerSettings = SchedulerSettings()
    queues: QueueSettings = QueueSettings()
    prefect: PrefectSettings = PrefectSettings()
    git_polling: GitPollingSettings = GitPollingSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    notifications: NotificationSettings = NotificationSettings()
    internal_tasks: InternalTaskSettings = InternalTaskSettings()
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()
    tasks: TaskSettings = TaskSettings()
    workflows: dict[Name, WorkflowSettings] = Field(
        default_factory=dict, description="DAGs of tasks by name"
    )
    flows: dict[Name, DottedPath] = Field(
        default_factory=dict, description="dotted path of a Prefect @flow by name"
    )
    secrets: dict[Name, SecretSettings] = Field(
        default_factory=dict, description="where each secret comes from, by name"
    )
    http: HttpSettings = HttpSettings()
    _origins: Origins = PrivateAttr(default=Origins())

    @field_validator("timezone")
    @classmethod
    def refuse_unknown_zone(cls, name: str) -> str:
        """Refuse a name that the zone database does not have."""
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            mend = nearest(name, available_timezones()) or "Give an IANA name like Europe/Paris."
            what = "which no time zone is called"
            raise refusal(what, mend=mend) from error
        return name

    @model_validator(mode="after")
    def refuse_one_name_twice(self) -> Self:
        """Refuse a flow and a workflow of one name: a deployment could mean either."""
        for name in self.flows.keys() & self.workflows.keys():
            what = "a workflow has this name too"
            mend = f"Rename the flow or the workflow '{name}'."
            raise refusal(what, mend=mend, key=("flows", name))
        return self

    @property
    def origins(self) -> Origins:
        """Where the values were written; empty for settings made in Python."""
        return self._origins

    def written_at(self, origins: Origins) -> Self:
        """Remember where the values were written, for the texts of refusals.

        Args:
            origins: Of these values.
        """
        copy = self.model_copy()
        copy._origins = origins  # noqa: SLF001 - of our own class
        return copy

    @property
    def data_path(self) -> Path:
        """The data dir, the platform's one where none is set; see `prepare_data_dir`."""
        return self.data_dir or Path(platformdirs.user_data_dir(APPLICATION, appauthor=False))

    @property
    def workflow_definitions(self) -> dict[str, Workflow]:
        """The declared workflows by name."""
        return {
            name: Workflow(name=name, description=entry.description, nodes=entry.nodes)
            for name, entry in self.workflows.items()
        }
