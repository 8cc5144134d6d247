"""Which engine suits a task: the rules, and what is inferred."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from mahavishnu_sched_mcp.classifier import TaskCharacteristics, choose, classify, classify_task
from mahavishnu_sched_mcp.domain.catalog import Catalog
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from tests.unit.classified import a_catalog, the_five

ENGINES = {"A": "apscheduler", "O": "oneiric", "P": "prefect"}

# Columns: the frequencies high, medium, low. Written by hand from the contract's five rules.
TABLE = """
internal    simple  ephemeral  local        A A A
internal    simple  ephemeral  distributed  O O O
internal    simple  persistent local        O O O
internal    simple  persistent distributed  O O O
internal    dag     ephemeral  local        P P P
internal    dag     ephemeral  distributed  P P P
internal    dag     persistent local        P P P
internal    dag     persistent distributed  P P P
internal    complex ephemeral  local        P P P
internal    complex ephemeral  distributed  P P P
internal    complex persistent local        P P P
internal    complex persistent distributed  P P P
user-facing simple  ephemeral  local        P P P
user-facing simple  ephemeral  distributed  P P P
user-facing simple  persistent local        P P P
user-facing simple  persistent distributed  P P P
user-facing dag     ephemeral  local        P P P
user-facing dag     ephemeral  distributed  P P P
user-facing dag     persistent local        P P P
user-facing dag     persistent distributed  P P P
user-facing complex ephemeral  local        P P P
user-facing complex ephemeral  distributed  P P P
user-facing complex persistent local        P P P
user-facing complex persistent distributed  P P P
"""


def full_table() -> list[tuple[dict[str, str], str]]:
    """Spread the table into one row for each combination of the five."""
    names = ("visibility", "complexity", "durability", "infrastructure")
    rows = []
    for line in TABLE.strip().splitlines():
        *values, high, medium, low = line.split()
        for frequency, letter in (("high", high), ("medium", medium), ("low", low)):
            five = dict(zip(names, values, strict=True)) | {"frequency": frequency}
            rows.append((five, ENGINES[letter]))
    return rows


@pytest.mark.parametrize(("five", "engine"), full_table())
def test_the_five_decide_by_themselves(five: dict[str, str], engine: str) -> None:
    """With all five given the answer depends on them alone, with confidence 1."""
    characteristics = TaskCharacteristics(**five)

    answer = classify(
        "backup_user_reports",
        description="A dashboard over a pipeline of repos",
        characteristics=characteristics,
        catalog=a_catalog(),
    )

    assert choose(characteristics) == engine
    assert classify_task("any name", characteristics) == engine
    assert (answer.backend, answer.confidence) == (engine, 1.0)


def test_the_table_has_every_combination_once() -> None:
    """3 frequencies, 2 visibilities, 3 complexities, 2 durabilities, 2 infrastructures make 72."""
    rows = {tuple(sorted(five.items())) for five, _ in full_table()}

    assert len(rows) == len(full_table()) == 72


@pytest.mark.parametrize("flag", ["requires_ui", "requires_observability", "multi_repo"])
def test_a_need_that_is_said_outright_asks_for_prefect(flag: str) -> None:
    """A UI, state tracking and several repositories count even beside the five."""
    assert choose(the_five(**{flag: True})) is Backend.PREFECT
    assert choose(the_five(**{flag: False})) is Backend.APSCHEDULER


def test_nothing_known_means_apscheduler() -> None:
    """What is None matches no rule."""
    assert choose(TaskCharacteristics()) is Backend.APSCHEDULER


def test_a_chore_is_distributed_only_where_nobody_said_otherwise() -> None:
    """Rule 3 reads a backup as distributed, unless its infrastructure was given."""
    assert classify_task("backup") == "oneiric"
    assert classify_task("backup", TaskCharacteristics(infrastructure="local")) == "apscheduler"


def test_every_inference_is_a_reason() -> None:
    """Reasons name the word, what it is read as, and what follows from it."""
    answer = classify("backup", catalog=Catalog())

    expected = "'backup' reads as an infrastructure chore -> infrastructure distributed"
    assert expected in answer.reasons
    assert "rule 3: infrastructure is distributed -> oneiric" in answer.reasons
    assert 0 < answer.confidence < 1


def test_the_less_is_known_the_lower_the_confidence() -> None:
    """A name that says nothing is answered, with less confidence than a telling one."""
    silent = classify("x17", catalog=Catalog())
    telling = classify("cache_cleanup", catalog=Catalog())

    assert silent.backend == telling.backend == "apscheduler"
    assert silent.confidence < telling.confidence < 1


def test_the_answer_speaks_of_all_three_engines() -> None:
    """The two engines that were not chosen are listed with the reason why not."""
    chosen = [the_five(), the_five(durability="persistent"), the_five(complexity="dag")]
    chosen.append(the_five(complexity="dag", infrastructure="distributed"))

    for characteristics in chosen:
        answer = classify("x", characteristics=characteristics, catalog=Catalog())
        spoken_of = {answer.backend, *(other.backend for other in answer.alternatives)}
        assert spoken_of == set(Backend)
        assert all(other.why_not for other in answer.alternatives)


def test_a_fitting_alternative_is_said_to_fit() -> None:
    """Where rule 1 or 2 came first, the reader learns that a queue would do as well."""
    both = the_five(complexity="dag", durability="persistent")

    answer = classify("x", characteristics=both, catalog=Catalog())

    oneiric = next(one for one in answer.alternatives if one.backend is Backend.ONEIRIC)
    assert "a queue would carry it too" in oneiric.why_not


@pytest.mark.parametrize(
    ("seconds", "frequency"),
    [(1, "high"), (60, "high"), (60.5, "medium"), (86400, "medium"), (86401, "low")],
)
def test_a_period_says_the_frequency(seconds: float, frequency: str) -> None:
    """Up to a minute is high, up to a day is medium, rarer is low."""
    answer = classify("x", interval_seconds=seconds, catalog=Catalog())

    assert answer.characteristics.frequency == frequency


@pytest.mark.parametrize(
    ("wording", "seconds"),
    [
        ("every 30 seconds", 30),
        ("every minute", 60),
        ("runs hourly", 3600),
        ("every 2 hours", 7200),
        ("each 3 days", 259200),
        ("every hour, keep 7 copies", 3600),
        ("every 2 hours, keep 7 copies", None),
        ("keep 30 seconds", None),
        ("every minute of the hour", None),
        ("every 0 minutes", None),
        ("hourly or minutely", None),
        ("every day", None),
    ],
)
def test_a_period_in_words_is_understood(wording: str, seconds: float | None) -> None:
    """One unit after 'every', with its number in the plural, is a period; doubt is none."""
    answer = classify("x", description=wording, catalog=Catalog())

    assert answer.characteristics.interval_seconds == seconds


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_period_that_is_none_is_refused(seconds: float) -> None:
    """A period is a number above 0; the refusal says so with the value."""
    with pytest.raises(InvalidArgumentsError, match="interval_seconds is"):
        classify("x", interval_seconds=seconds, catalog=Catalog())


def test_a_built_in_task_belongs_to_this_server() -> None:
    """The catalog comes before the wording, and what the caller says before both."""
    said: dict[str, Any] = {
        "description": "A dashboard for the users of many repos",
        "catalog": a_catalog(),
    }

    assert classify("health_check", **said).backend is Backend.APSCHEDULER
    assert classify("another", **said).backend is Backend.PREFECT
    given = TaskCharacteristics(requires_ui=True)
    assert classify("health_check", characteristics=given, **said).backend is Backend.PREFECT


def test_the_operators_description_counts_as_wording() -> None:
    """A task of the catalog is read by its own description too."""
    assert classify("greet", catalog=a_catalog()).backend is Backend.PREFECT
    assert classify("greet", catalog=Catalog()).backend is Backend.APSCHEDULER


@pytest.mark.parametrize("denied", ["no UI", "without any dashboard", "not user-facing"])
def test_what_is_denied_does_not_count(denied: str) -> None:
    """'No', 'not' and 'without' take back the words right after them."""
    assert classify("x", description=denied, catalog=Catalog()).backend is Backend.APSCHEDULER


@pytest.mark.parametrize(
    "spelling", ["cache_cleanup", "cache-cleanup", "cacheCleanup", "CACHECleanup", "cachecleanup"]
)
def test_spelling_makes_no_difference(spelling: str) -> None:
    """Snake, kebab and camel case and compounds are read alike."""
    plain = classify("cache cleanup", catalog=Catalog())

    answer = classify(spelling, catalog=Catalog())

    assert (answer.backend, answer.reasons) == (plain.backend, plain.reasons)


def test_given_characteristics_win_over_the_wording() -> None:
    """Each of the five that was given stays as it was given."""
    for visibility, complexity in product(("internal", "user-facing"), ("simple", "dag")):
        given = TaskCharacteristics.model_validate(
            {"visibility": visibility, "complexity": complexity}
        )
        found = classify("user_pipeline", characteristics=given, catalog=Catalog()).characteristics
        assert (found.visibility, found.complexity) == (visibility, complexity)
        assert found.is_complete
