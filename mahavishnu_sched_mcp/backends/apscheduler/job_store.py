"""An APScheduler job store in memory, as a heap by time with an index by id."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from apscheduler.jobstores.base import BaseJobStore, ConflictingIdError, JobLookupError

_TIME, _NUMBER, _JOB = range(3)
_DEAD_ENTRIES = 1024


class HeapJobStore(BaseJobStore):  # type: ignore[misc]  # APScheduler ships no types
    """Adding and advancing cost the same for ten jobs and for a hundred thousand.

    A heap entry is [timestamp, number, job]; a removed or moved job leaves its entry behind,
    dead (job None), until it comes to the top or the dead ones are the majority. A paused job
    (no next time) has no entry in the heap. Nothing is kept after a stop: the ledger has it.
    """

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._heap: list[list[Any]] = []
        self._entries: dict[str, list[Any]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Count the jobs."""
        return len(self._entries)

    def lookup_job(self, job_id: str) -> Any | None:
        """Give the job of this id, or None."""
        entry = self._entries.get(job_id)
        return None if entry is None else entry[_JOB]

    def get_due_jobs(self, now: datetime) -> list[Any]:
        """List the jobs due at an instant, the earliest first, without changing anything."""
        return list(self._due(now))

    def get_first_due_jobs(self, now: datetime, *, count: int) -> list[Any]:
        """List the earliest due jobs only; costs no more when thousands are due."""
        return list(islice(self._due(now), count))

    def get_next_run_time(self) -> datetime | None:
        """Give the earliest time of all jobs, or None."""
        while self._heap and self._heap[0][_JOB] is None:
            heapq.heappop(self._heap)
        return self._heap[0][_JOB].next_run_time if self._heap else None

    def get_all_jobs(self) -> list[Any]:
        """List all jobs by time, the paused ones last."""
        entries = sorted(self._entries.values(), key=lambda entry: entry[:_JOB])
        return [entry[_JOB] for entry in entries]

    def add_job(self, job: Any) -> None:
        """Add a job; ConflictingIdError where the id is taken."""
        if job.id in self._entries:
            raise ConflictingIdError(job.id)
        self._put(job)

    def update_job(self, job: Any) -> None:
        """Replace the job of the same id; JobLookupError where there is none."""
        entry = self._entries.get(job.id)
        if entry is None:
            raise JobLookupError(job.id)
        if self._heap and self._heap[0] is entry and job.next_run_time is not None:
            heapq.heapreplace(self._heap, self._new_entry(job))
            return
        entry[_JOB] = None
        self._put(job)

    def remove_job(self, job_id: str) -> None:
        """Remove a job; JobLookupError where there is none."""
        entry = self._entries.pop(job_id, None)
        if entry is None:
            raise JobLookupError(job_id)
        entry[_JOB] = None
        self._sweep()

    def remove_all_jobs(self) -> None:
        """Remove every job."""
        self._heap = []
        self._entries = {}

    def shutdown(self) -> None:
        """Forget everything."""
        self.remove_all_jobs()

    def _due(self, now: datetime) -> Iterator[Any]:
        """Walk the heap from its top in the order of time; it must not change meanwhile."""
        timestamp = now.timestamp()
        frontier = [(*self._heap[0][:_JOB], 0)] if self._heap else []
        while frontier and frontier[0][_TIME] <= timestamp:
            *_, index = heapq.heappop(frontier)
            if self._heap[index][_JOB] is not None:
                yield self._heap[index][_JOB]
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(self._heap):
                    heapq.heappush(frontier, (*self._heap[child][:_JOB], child))

    def _put(self, job: Any) -> None:
        entry = self._new_entry(job)
        if job.next_run_time is not None:
            heapq.heappush(self._heap, entry)
        self._sweep()

    def _new_entry(self, job: Any) -> list[Any]:
        self._number += 1
        due = job.next_run_time
        entry = [float("inf") if due is None else due.timestamp(), self._number, job]
        self._entries[job.id] = entry
        return entry

    def _sweep(self) -> None:
        """Rebuild the heap when most of it is dead."""
        dead = len(self._heap) - len(self._entries)
        if dead > _DEAD_ENTRIES and 2 * dead > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[_JOB] is not None]
            heapq.heapify(self._heap)
