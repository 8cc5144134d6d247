"""The `@task` mark: what turns a Python function into a task an operator can offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from mahavishnu_sched_mcp.domain.value import Value

_ATTRIBUTE = "__mahavishnu_task__"


class TaskMark(Value):
    """What the function's author said about it.

    Attributes:
        name: The task's name in the catalog; None takes the function's own.
        description: One sentence for the catalog; None takes the docstring's first line.
        idempotent: Running it twice does no harm.
        approval: `required` makes jobs on it wait for the operator.
        timeout_seconds: Its own limit; None leaves `limits.max_runtime_seconds`.
    """

    name: str | None = None
    description: str | None = None
    idempotent: bool = False
    approval: Literal["none", "required"] = "none"
    timeout_seconds: float | None = None


@overload
def task[F: Callable[..., Any]](function: F, /) -> F: ...


@overload
def task[F: Callable[..., Any]](
    *,
    name: str | None = None,
    description: str | None = None,
    idempotent: bool = False,
    approval: Literal["none", "required"] = "none",
    timeout_seconds: float | None = None,
) -> Callable[[F], F]: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    idempotent: bool = False,
    approval: Literal["none", "required"] = "none",
    timeout_seconds: float | None = None,
) -> Callable[..., Any]:
    """Mark a function, async or not, as a task; with or without arguments.

    The function itself is returned unchanged and nothing is registered: it joins the catalog
    when its module stands in the setting `tasks.modules`.

    Args:
        function: Given by Python where the decorator is used bare.
        name: The task's name; None takes the function's own.
        description: One sentence for the catalog; None takes the docstring's first line.
        idempotent: Say True where running it twice does no harm: an interrupted run is then
            run again by itself.
        approval: `required` makes jobs on it wait for the operator's `approve`.
        timeout_seconds: Its own limit; None leaves `limits.max_runtime_seconds`.
    """
    mark = TaskMark(
        name=name,
        description=description,
        idempotent=idempotent,
        approval=approval,
        timeout_seconds=timeout_seconds,
    )

    def attach[F: Callable[..., Any]](marked: F) -> F:
        vars(marked)[_ATTRIBUTE] = mark
        return marked

    return attach if function is None else attach(function)


def mark_of(candidate: object) -> TaskMark | None:
    """Give the mark of a function, or None where it has none.

    Args:
        candidate: Any object of a module.
    """
    mark = getattr(candidate, "__dict__", {}).get(_ATTRIBUTE) if callable(candidate) else None
    return mark if isinstance(mark, TaskMark) else None
