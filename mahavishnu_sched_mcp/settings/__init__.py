"""The operator's settings: defaults < config file < local.yaml < environment < command line."""

from mahavishnu_sched_mcp.settings.folder import prepare_data_dir
from mahavishnu_sched_mcp.settings.idle import unsupported
from mahavishnu_sched_mcp.settings.loader import load_settings
from mahavishnu_sched_mcp.settings.model import APPLICATION, Settings
from mahavishnu_sched_mcp.settings.queue import QueueSettings, SqliteQueueSettings
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
from mahavishnu_sched_mcp.settings.work import (
    CommandSettings,
    HttpTaskSettings,
    TaskSettings,
    WorkflowSettings,
)

__all__ = [
    "APPLICATION",
    "CommandSettings",
    "DeadLetterSettings",
    "GitPollingSettings",
    "HttpSettings",
    "HttpTaskSettings",
    "InternalTaskSettings",
    "LimitSettings",
    "NotificationSettings",
    "PrefectSettings",
    "QueueSettings",
    "RetentionSettings",
    "SchedulerSettings",
    "SecretSettings",
    "Settings",
    "SqliteQueueSettings",
    "TaskSettings",
    "WorkflowSettings",
    "load_settings",
    "prepare_data_dir",
    "unsupported",
]
