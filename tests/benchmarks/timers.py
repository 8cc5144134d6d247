"""What asyncio alone does at a given instant: the floor of the lateness of a fire."""

from __future__ import annotations

import asyncio
import json
import sys
import time


async def ring(*, jobs: int, rounds: int) -> list[float]:
    """Let as many timers ring each second as there are jobs; give the latenesses in seconds."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def begin(due: float) -> None:
        late.append(loop.time() - due)

    def fire(due: float) -> None:
        task = loop.create_task(begin(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    start = loop.time() + 1.0
    for job in range(jobs):
        for number in range(rounds):
            due = start + number + job / 1000
            loop.call_at(due, fire, due)
    await asyncio.sleep(rounds + 1.5)
    return late


if __name__ == "__main__":
    began = time.monotonic()
    found = asyncio.run(ring(jobs=int(sys.argv[1]), rounds=int(sys.argv[2])))
    sys.stdout.write(json.dumps({"late": found, "took": time.monotonic() - began}))
