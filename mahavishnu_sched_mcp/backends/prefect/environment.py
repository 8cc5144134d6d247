"""The environment variables of the three processes: ours, the server and the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mahavishnu_sched_mcp.backends.prefect.place import Place


def client_environment(place: Place) -> dict[str, str]:
    """Say what Prefect's client reads when it is imported into our own process.

    Without retries and with a short timeout, because a call that hangs is an answer too late;
    never ephemeral, because a server made by the client does not schedule.
    """
    return {
        "PREFECT_HOME": str(place.root),
        "PREFECT_LOGGING_CONFIG_PATH": str(place.client_logging),
        "PREFECT_CLIENT_MAX_RETRIES": "0",
        "PREFECT_API_REQUEST_TIMEOUT": "5",
        **_quiet(),
    }


def server_environment(
    place: Place, *, port: int, ui: bool, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Say what the embedded server gets.

    Args:
        place: Where its database, UI files and log are.
        port: Of the loopback address it listens on.
        ui: Whether it serves the UI.
        inherited: Our own environment; its Prefect variables are left out.
    """
    address = f"http://127.0.0.1:{port}"
    return {
        **_without_prefect(inherited),
        "PREFECT_HOME": str(place.root),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{place.database}",
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(place.root / "ui"),
        # The server answers without a password: pages of other origins must not reach it.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "15",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "50",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "60",
        # ISO 8601: a plain number makes Prefect refuse to import.
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT60S",
        "PREFECT_LOGGING_CONFIG_PATH": str(place.worker_logging),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        **_quiet(),
    }


def worker_environment(
    place: Place,
    *,
    api_url: str,
    api_key: str | None,
    config_path: Path | None,
    is_embedded: bool,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Say what the worker gets, and the flows it runs.

    Args:
        place: Where its log is; the flows compose from the same data folder.
        api_url: The server's API.
        api_key: Of the user's own server, or None.
        config_path: The operator's settings, or None for the default place.
        is_embedded: Whether the server is ours. Else the user's own Prefect variables
            (certificates, headers) stay.
        inherited: Our own environment.
    """
    kept = _without_prefect(inherited) if is_embedded else dict(inherited)
    kept.pop("PREFECT_PROFILE", None)
    result = {
        **kept,
        "PREFECT_HOME": str(place.root),
        "PREFECT_API_URL": api_url,
        # Patient, unlike our own client: a database busy for a moment must not crash a run.
        "PREFECT_CLIENT_MAX_RETRIES": "5",
        "PREFECT_API_REQUEST_TIMEOUT": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
        "PREFECT_LOGGING_CONFIG_PATH": str(place.worker_logging),
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "MAHAVISHNU_DATA_DIR": str(place.data_dir),
        **_quiet(),
    }
    if api_key is not None:
        result["PREFECT_API_KEY"] = api_key
    if config_path is not None:
        result["MAHAVISHNU_CONFIG"] = str(config_path)
    return result


def _quiet() -> dict[str, str]:
    return {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }


def _without_prefect(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if not key.startswith("PREFECT_")}
