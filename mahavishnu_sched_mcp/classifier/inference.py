"""Completes the characteristics of a task: catalog entry, period, wording, then defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.classifier import vocabulary
from mahavishnu_sched_mcp.classifier.words import drop_denied, find, read_words
from mahavishnu_sched_mcp.domain.characteristics import THE_FIVE, TaskCharacteristics
from mahavishnu_sched_mcp.domain.value import Value

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.classifier.target import Target

CERTAIN, FROM_CATALOG, FROM_PERIOD, FROM_WORDS, BY_DEFAULT, FROM_NOTHING = (
    1,
    0.95,
    0.95,
    0.85,
    0.7,
    0.5,
)
"""How sure a characteristic is, by where it comes from."""

DEFAULTS: dict[str, Any] = {
    "frequency": "medium",
    "visibility": "internal",
    "complexity": "simple",
    "durability": "ephemeral",
    "infrastructure": "local",
}

_NUMBER = re.compile(r"[1-9][0-9]{0,4}")

HIGH_UP_TO_SECONDS = 60
MEDIUM_UP_TO_SECONDS = 86400


class Inference(Value):
    """The characteristics of a task, complete, with the way they were come by.

    Attributes:
        reasons: Each inference in words.
        certainty: 0 to 1 for each characteristic that is known.
        cron: The expression that suits the time the wording names ('nightly'), or None.
    """

    characteristics: TaskCharacteristics
    reasons: tuple[str, ...]
    certainty: dict[str, float]
    cron: str | None = None


class Findings:
    """What has been found out so far: the first finding on a characteristic stays."""

    def __init__(self, given: TaskCharacteristics) -> None:
        """Begin with what the caller said."""
        self.values: dict[str, Any] = given.model_dump(exclude_none=True)
        self.certainty: dict[str, float] = dict.fromkeys(self.values, float(CERTAIN))
        self.reasons: list[str] = []

    def add(self, name: str, value: object, *, certainty: float, because: str) -> None:
        """Note a characteristic, unless it is known already."""
        if name in self.values:
            return
        self.values[name] = value
        self.certainty[name] = certainty
        self.reasons.append(f"{because} -> {name} {_say(value)}")


def complete(given: TaskCharacteristics, *, target: Target, description: str | None) -> Inference:
    """Fill in what the caller did not say; with all five given nothing is inferred.

    Args:
        given: What the caller said; it always wins.
        target: The task's name and its place in the catalog.
        description: What the task does, in a sentence.
    """
    findings = Findings(given)
    words = _read(target, description)
    if not given.is_complete:
        _look_at_catalog(findings, target)
        _look_at_period(findings, words.ordered)
        has_spoken = _look_at_wording(findings, words)
        rest = BY_DEFAULT if has_spoken or findings.reasons else FROM_NOTHING
        for name in THE_FIVE:
            findings.add(name, DEFAULTS[name], certainty=rest, because=f"nothing speaks of {name}")
    flags = dict.fromkeys(("requires_ui", "requires_observability", "multi_repo"), False)
    return Inference(
        characteristics=TaskCharacteristics(**(flags | findings.values)),
        reasons=tuple(findings.reasons),
        certainty=findings.certainty,
        cron=stated_cron(words.ordered),
    )


class Wording(Value):
    """The words of a task's name and description.

    Attributes:
        of_name: The words of the name.
        present: All words, without those that are denied ('no UI').
        ordered: All words as they stand.
    """

    of_name: tuple[str, ...]
    present: frozenset[str]
    ordered: tuple[str, ...]


def _read(target: Target, description: str | None) -> Wording:
    of_name = read_words(target.name)
    of_texts = [read_words(text) for text in (description, target.description) if text]
    present = drop_denied(of_name).union(*map(drop_denied, of_texts))
    ordered = (*of_name, *(word for words in of_texts for word in words))
    return Wording(of_name=of_name, present=present, ordered=ordered)


def _look_at_catalog(findings: Findings, target: Target) -> None:
    if target.task and target.task.source == "builtin":
        because = f"'{target.task.name}' is a built-in task of this server"
        for name, value in DEFAULTS.items():
            if name != "frequency":
                findings.add(name, value, certainty=FROM_CATALOG, because=because)
        for name in ("requires_ui", "requires_observability", "multi_repo"):
            findings.values.setdefault(name, False)
    if target.workflow:
        steps = len(target.workflow.nodes)
        findings.add(
            "complexity",
            "dag" if steps > 1 else "simple",
            certainty=FROM_CATALOG,
            because=f"'{target.workflow.name}' is a workflow with {_count(steps)} in the catalog",
        )
        findings.add(
            "durability",
            "persistent",
            certainty=FROM_CATALOG,
            because="a workflow's work travels by queue",
        )
    elif target.flow:
        findings.add(
            "requires_observability",
            value=True,
            certainty=FROM_CATALOG,
            because=f"'{target.flow.name}' is a Prefect flow of the catalog",
        )
    elif target.task:
        because = f"'{target.task.name}' is a single task of the catalog"
        findings.add("complexity", "simple", certainty=FROM_CATALOG, because=because)


def _look_at_period(findings: Findings, words: tuple[str, ...]) -> None:
    if "interval_seconds" not in findings.values:
        period = stated_period(words)
        if period:
            findings.add(
                "interval_seconds",
                float(period),
                certainty=FROM_WORDS,
                because="the wording names a period",
            )
    period_seconds = findings.values.get("interval_seconds")
    if period_seconds is None:
        return
    frequency = "low"
    if period_seconds <= HIGH_UP_TO_SECONDS:
        frequency = "high"
    elif period_seconds <= MEDIUM_UP_TO_SECONDS:
        frequency = "medium"
    because = f"a period of {period_seconds:g} s"
    findings.add("frequency", frequency, certainty=FROM_PERIOD, because=because)


def stated_period(words: tuple[str, ...]) -> int | None:
    """Give the one period that a wording names, in seconds; None for none or several.

    The order of the words does not matter. A number counts the unit only where the unit stands
    in the plural ('every 5 minutes'), and only where it is the only number.

    Args:
        words: In small letters.
    """
    named = {vocabulary.PERIODS[word] for word in words if word in vocabulary.PERIODS}
    if len(named) == 1:
        return named.pop()
    units = [word for word in words if word.removesuffix("s") in vocabulary.UNITS]
    if named or len(units) != 1 or not _says_every(words):
        return None
    unit = units[0].removesuffix("s")
    if not units[0].endswith("s"):
        return None if unit in vocabulary.EVERY else vocabulary.UNITS[unit]
    numbers = [word for word in words if _NUMBER.fullmatch(word)]
    return vocabulary.UNITS[unit] * int(numbers[0]) if len(numbers) == 1 else None


def stated_cron(words: tuple[str, ...]) -> str | None:
    """Give the cron expression for the one time of the calendar that a wording names.

    Args:
        words: In small letters.
    """
    every = {vocabulary.EVERY[word] for word in words if word in vocabulary.EVERY}
    named = vocabulary.CALENDAR.keys() & set(words)
    if not named and _says_every(words):
        named = every
    expressions = {vocabulary.CALENDAR[name] for name in named}
    return expressions.pop() if len(expressions) == 1 else None


def _says_every(words: tuple[str, ...]) -> bool:
    return not vocabulary.EVERY_WORDS.isdisjoint(words)


def _look_at_wording(findings: Findings, words: Wording) -> bool:
    """Note what the words say, and tell whether they said anything."""
    is_light = _is_light(words)
    near = find(vocabulary.NEAR, words.present)
    yielding = {"nothing": False, "light": is_light, "near": is_light or bool(near)}
    spoke = False
    for cue in vocabulary.CUES:
        hits = find(cue.pattern, words.present)
        if hits and not yielding[cue.yields_to]:
            spoke = True
            because = f"'{hits[0]}' reads as {cue.reading}"
            findings.add(cue.characteristic, cue.value, certainty=FROM_WORDS, because=because)
    if _says_every_repository(words.present):
        because = "'every repository' reads as several repositories"
        findings.add("multi_repo", value=True, certainty=FROM_WORDS, because=because)
    small = find(vocabulary.LIGHT, words.present) if is_light else near
    if small:
        because = f"'{small[0]}' reads as a light chore of this server"
        for name in ("complexity", "durability", "infrastructure"):
            findings.add(name, DEFAULTS[name], certainty=FROM_WORDS, because=because)
    return spoke or bool(small)


def _is_light(words: Wording) -> bool:
    """Whether the task looks at something or tidies up, and does no heavy work of its own.

    The name decides where it says anything ('check_deployment'); else the balance of the
    description does ('Deploy the release after the checks').
    """
    of_name = words.present.intersection(words.of_name)
    if find(vocabulary.LIGHT, of_name):
        return True
    heavy_patterns = [cue.pattern for cue in vocabulary.CUES if cue.yields_to == "light"]
    if any(find(pattern, of_name) for pattern in heavy_patterns):
        return False
    light = len(find(vocabulary.LIGHT, words.present))
    heavy = sum(len(find(pattern, words.present)) for pattern in heavy_patterns)
    if light == heavy:
        return bool(find(vocabulary.LIGHT_FOR_SURE, words.present))
    return light > heavy


def _says_every_repository(words: frozenset[str]) -> bool:
    """Whether 'every' counts repositories: it does where it cannot count time."""
    names_time = {*vocabulary.UNITS, *vocabulary.EVERY, "morning", "evening"} & words
    names_one = {"repo", "repository"} & words
    return bool(names_one) and not names_time and not vocabulary.EVERY_WORDS.isdisjoint(words)


def _count(steps: int) -> str:
    return "1 node" if steps == 1 else f"{steps} nodes"


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
