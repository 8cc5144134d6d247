"""A workflow whose first node is tried again: `python -m examples.workflow_with_retries FOLDER`.

The workflow waits for a service and then talks to it. It travels through the embedded queue; the
service comes up late, and the run's nodes show how often each was tried.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mahavishnu_sched_mcp import MahavishnuApp, current_run, load_settings, task
from mahavishnu_sched_mcp.log import configure_logging

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.value import JsonObject

Port = Annotated[int, Field(ge=1, le=65535, description="On this machine.")]
LATE_SECONDS = 0.5

SETTINGS: JsonObject = {
    "tasks": {"modules": ["examples.workflow_with_retries"]},
    "workflows": {
        "greet_service": {
            "description": "Wait for the service, then greet it",
            "nodes": [
                {
                    "id": "wait",
                    "task": "find_service",
                    # Waits 0.2 s, 0.4 s, 0.8 s, ... between the attempts.
                    "retry": {"attempts": 6, "base_delay_seconds": 0.2},
                    "timeout_seconds": 5,
                },
                {"id": "greet", "task": "greet_service", "depends_on": ["wait"]},
            ],
        }
    },
}


@task(idempotent=True)
async def find_service(port: Port) -> str:
    """Connect to the service; fail while nothing answers.

    Raises:
        OSError: nothing listens there.
    """
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    return f"service at {port}"


@task
async def greet_service(port: Port) -> str:
    """Send the service a line and give its answer."""
    found = current_run().upstream["wait"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"hello, {found}\n".encode())
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def main(folder: Path) -> None:
    """Enqueue the workflow, let the service come late, and show what happened."""
    settings = load_settings(data_dir=folder, environ={}, overrides=SETTINGS)
    port = await free_port()
    async with MahavishnuApp(settings).lifecycle() as app:
        made = await app.scheduler.enqueue_workflow(
            "greet_service", context={"port": port}, idempotency_key="the only one"
        )
        await asyncio.sleep(LATE_SECONDS)
        async with await asyncio.start_server(serve_one, "127.0.0.1", port):
            run = await app.scheduler.get_run(made.run_id or "", wait_seconds=20)
    for node in run.nodes:
        sys.stdout.write(f"{node.node}: {node.state} after {node.attempts} attempts\n")
    sys.stdout.write(f"{made.job.job_id}: {run.state}\n{run.output.text}\n")


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a line with the same line in capitals."""
    line = await reader.readline()
    writer.write(line.upper())
    await writer.drain()
    writer.close()


async def free_port() -> int:
    """Find a port on which nothing listens yet."""
    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main(Path(sys.argv[1])))
