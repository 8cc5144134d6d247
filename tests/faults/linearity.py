"""Whether calls that overlapped could have happened one after the other (Wing and Gong's search).

Each call takes effect at one instant between its beginning and its answer, or the history cannot
be explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class State(NamedTuple):
    """What calls change of a job."""

    state: str
    note: str
    name: str


class Act(NamedTuple):
    """One answered call.

    Attributes:
        begun: When it was sent, in nanoseconds.
        ended: When its answer was there.
        changes: What it sets; nothing of a call that only looks.
        answer: The job as the answer shows it.
    """

    begun: int
    ended: int
    changes: dict[str, str]
    answer: State


def is_linearizable(acts: Sequence[Act], *, initial: State) -> bool:
    """Whether some order of the calls explains all answers."""
    ordered = sorted(acts, key=lambda act: act.begun)
    stack: list[tuple[int, frozenset[int], State]] = [(0, frozenset(), initial)]
    seen = set(stack)
    while stack:
        low, beyond, state = stack.pop()
        if low == len(ordered):
            return True
        for number in _first_candidates(ordered, low, beyond):
            after = state._replace(**ordered[number].changes)
            if after == ordered[number].answer:
                reached = (*_advanced(low, beyond | {number}), after)
                if reached not in seen:
                    seen.add(reached)
                    stack.append(reached)
    return False


def _first_candidates(ordered: Sequence[Act], low: int, beyond: frozenset[int]) -> Iterator[int]:
    """Give the calls that may come next: those sent before any other one was answered."""
    left: list[int] = []
    earliest: int | None = None
    for number in range(low, len(ordered)):
        if earliest is not None and ordered[number].begun > earliest:
            break
        if number not in beyond:
            left.append(number)
            ended = ordered[number].ended
            earliest = ended if earliest is None else min(earliest, ended)
    assert earliest is not None
    yield from (number for number in left if ordered[number].begun <= earliest)


def _advanced(low: int, beyond: frozenset[int]) -> tuple[int, frozenset[int]]:
    while low in beyond:
        beyond -= {low}
        low += 1
    return low, beyond
