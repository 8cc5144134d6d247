"""What a flow wrote itself, told apart from what Prefect writes around it."""

from __future__ import annotations

import re

# How the entries begin that Prefect's engine adds to the loggers of every flow and task run.
_ENGINE_ENTRIES = (
    r"Beginning (?:flow|subflow) run '",
    r"Created (?:task|subflow) run '",
    r"View at https?://",
    r"Finished in state \w+\(",
    r"Received non-final state '",
    r"Task run failed with (?:exception|state): ",
    r"Encountered exception during execution: ",
    r"(?:Flow|Task) run exceeded timeout of ",
    r"(?:Flow|Task) run failed due to timeout: ",
    r"Validation of flow parameters failed with error:",
    r"Crash detected! ",
    r"Task run was aborted: ",
    r"Flow run was cancelled\.$",
    r"All states completed\.$",
    r"Running hook '",
    r"Hook '[^']*' finished running successfully$",
)
_NOISE = re.compile("|".join(_ENGINE_ENTRIES))
_BOILERPLATE = re.compile(
    r"^(?:(?:Flow|Task) run encountered an (?:unexpected )?exception:? "
    r"|(?:Flow|Task) run encountered unexpected exception: "
    r"|Validation of flow parameters failed with error: "
    r"|NodeFailedError: )+"
)
_TRACEBACK = re.compile(r"^\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):$")
_GROUP_LINE = re.compile(r"^\s*[|+]")
_GROUP_EXCEPTION = re.compile(r"^\s*\| (?P<text>\S.*)$")
_LINK = re.compile(
    r"^(?:During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:)$"
)
_NODE_FAILURE = re.compile(r"^node '[^']*' failed: ")
_EXCEPTION = re.compile(r"^(?P<type>[A-Za-z_][\w.]*): (?P<message>.+)$", re.DOTALL)


def own_text(message: str) -> str:
    """Give what the flow itself meant by a log entry; empty for one of Prefect's own."""
    return "" if _NOISE.match(message) else without_tracebacks(message)


def without_tracebacks(text: str) -> str:
    """Leave out the frames of tracebacks and keep their exceptions: frames show the server."""
    kept: list[str] = []
    is_inside = False
    for line in text.splitlines():
        if _TRACEBACK.match(line):
            is_inside = True
        elif not is_inside:
            kept.append(line)
        elif found := _GROUP_EXCEPTION.match(line):
            if not _TRACEBACK.match(found["text"]):
                kept.append(found["text"])
        elif line and not line[0].isspace() and not _GROUP_LINE.match(line):
            # The exception itself ends the block.
            is_inside = False
            kept.append(line)
    return "\n".join(_without_links(kept))


def failure_text(message: str) -> str:
    """Say a failure in one line, without the words Prefect puts before it."""
    text = " ".join(without_tracebacks(message).split())
    return _BOILERPLATE.sub("", text)


def exception_of(failure: str) -> tuple[str, str] | None:
    """Give type and message of a failure's exception, or None where it names none."""
    found = _EXCEPTION.match(_NODE_FAILURE.sub("", failure))
    return None if found is None else (found["type"], found["message"])


def _without_links(lines: list[str]) -> list[str]:
    """Leave out what stood between two tracebacks, with the blank lines around it."""
    kept: list[str] = []
    is_after_link = False
    for line in lines:
        if _LINK.match(line):
            is_after_link = True
            while kept and not kept[-1].strip():
                kept.pop()
        elif line.strip() or not is_after_link:
            is_after_link = False
            kept.append(line)
    return kept
