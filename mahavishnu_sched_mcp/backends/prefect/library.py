"""Prefect, imported without anyone waiting for it."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.prefect.environment import client_environment

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient
    from mahavishnu_sched_mcp.backends.prefect.place import Place

API_MODULE = "mahavishnu_sched_mcp.backends.prefect.api"


async def load_api(place: Place) -> type[ServerClient]:
    """Import Prefect's client, which takes seconds, in a daemon thread of our own.

    The end of the process never waits for a daemon thread, as it would for the event loop's
    own ones.

    Args:
        place: Where the files are that Prefect's variables name.
    """
    # Prefect reads its settings at its import, from the environment only.
    os.environ.update(client_environment(place))
    loop = asyncio.get_running_loop()
    done: asyncio.Future[type[ServerClient]] = loop.create_future()

    def tell(client: type[ServerClient] | None, error: Exception | None) -> None:
        if done.done():
            return
        if client is None:
            done.set_exception(error or ImportError(API_MODULE))
        else:
            done.set_result(client)

    def work() -> None:
        client: type[ServerClient] | None = None
        failure: Exception | None = None
        try:
            client = importlib.import_module(API_MODULE).ServerClient
        except Exception as error:  # noqa: BLE001 - guard of the thread: the loop is told
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, client, failure)

    threading.Thread(target=work, name="prefect-import", daemon=True).start()
    return await done
