"""What holds of the classifier whatever it is asked."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_sched_mcp.classifier import (
    Classification,
    TaskCharacteristics,
    choose,
    classify,
)
from mahavishnu_sched_mcp.domain.catalog import Catalog, TaskEntry
from mahavishnu_sched_mcp.domain.characteristics import THE_FIVE
from mahavishnu_sched_mcp.domain.engine import Backend

VOCABULARY = (
    *("backup", "rotate", "sync", "deploy", "report", "dashboard", "approve", "user", "pipeline"),
    *("repos", "nightly", "health", "heartbeat", "cleanup", "cache", "poll", "metrics", "archive"),
    *("weekly", "payments", "distributed", "persistent", "check", "of", "and", "data", "files"),
)

CATALOG = Catalog(tasks={"health_check": TaskEntry(name="health_check", source="builtin")})

untimed = settings(deadline=None)
"""A busy machine is no counterexample."""

names = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(VOCABULARY)).map("_".join))
sentences = st.lists(st.sampled_from(VOCABULARY), max_size=8)
optional_bool = st.sampled_from((None, True, False))
seconds = st.none() | st.floats(min_value=0.001, max_value=1e9)


@st.composite
def characteristics(draw: st.DrawFn) -> TaskCharacteristics:
    """Draw characteristics with any part of them missing."""
    values: dict[str, Any] = {
        "frequency": draw(st.sampled_from((None, "high", "medium", "low"))),
        "visibility": draw(st.sampled_from((None, "internal", "user-facing"))),
        "complexity": draw(st.sampled_from((None, "simple", "dag", "complex"))),
        "durability": draw(st.sampled_from((None, "ephemeral", "persistent"))),
        "infrastructure": draw(st.sampled_from((None, "local", "distributed"))),
        "requires_ui": draw(optional_bool),
        "requires_observability": draw(optional_bool),
        "multi_repo": draw(optional_bool),
        "interval_seconds": draw(seconds),
        "expected_duration_seconds": draw(seconds),
    }
    return TaskCharacteristics(**values)


@untimed
@given(names, st.none() | st.text(max_size=200), characteristics(), seconds)
def test_every_question_has_one_answer(
    name: str, description: str | None, given: TaskCharacteristics, period: float | None
) -> None:
    """The classifier is total and deterministic, and its answer is complete and consistent."""
    answers = [
        classify(
            name,
            description=description,
            characteristics=given,
            interval_seconds=period,
            catalog=CATALOG,
        )
        for _ in range(2)
    ]

    answer = answers[0]
    assert answers[1] == answer
    assert answer.backend is choose(answer.characteristics)
    assert answer.characteristics.is_complete
    assert (answer.confidence == 1.0) == given.is_complete
    assert {one.backend for one in answer.alternatives} == set(Backend) - {answer.backend}
    assert Classification.model_validate_json(answer.model_dump_json()) == answer


@untimed
@given(names, characteristics())
def test_what_was_given_is_never_changed(name: str, given: TaskCharacteristics) -> None:
    """An inference only fills gaps."""
    found = classify(name, characteristics=given, catalog=CATALOG).characteristics

    said = given.model_dump(exclude_none=True)
    assert said == {key: getattr(found, key) for key in said}


@untimed
@given(characteristics(), names, names)
def test_the_name_has_no_say_once_all_five_are_given(
    given: TaskCharacteristics, one: str, other: str
) -> None:
    """With all five given the engine is a function of them and the flags given with them."""
    filled = {
        name: getattr(given, name) or default
        for name, default in zip(
            THE_FIVE, ("high", "internal", "simple", "ephemeral", "local"), strict=True
        )
    }
    complete = given.model_copy(update=filled)

    engines = {
        classify(name, characteristics=complete, catalog=CATALOG).backend for name in (one, other)
    }

    assert engines == {choose(complete)}


@untimed
@given(sentences, sentences, st.randoms(use_true_random=False))
def test_word_order_makes_no_difference(name: list[str], sentence: list[str], random: Any) -> None:
    """The words count, not their order."""
    mixed_name, mixed_sentence = name.copy(), sentence.copy()
    random.shuffle(mixed_name)
    random.shuffle(mixed_sentence)

    plain = classify("_".join(name), description=" ".join(sentence), catalog=Catalog())
    mixed = classify("_".join(mixed_name), description=" ".join(mixed_sentence), catalog=Catalog())

    ignored = {"next_call", "warnings"}
    assert mixed.model_dump(exclude=ignored) == plain.model_dump(exclude=ignored)


@given(sentences, st.sampled_from((" ", "_", "-", "  ", " / ", ". ")), st.data())
@settings(max_examples=60, deadline=None)
def test_case_and_punctuation_make_no_difference(
    words: list[str], separator: str, data: st.DataObject
) -> None:
    """Small and capital letters, blanks and signs between the words are all one."""
    spelt = "".join(
        letter.upper() if data.draw(st.booleans()) else letter for letter in separator.join(words)
    )

    plain = classify("x", description=" ".join(words), catalog=Catalog())
    other = classify("x", description=f" {spelt}\n", catalog=Catalog())

    assert other == plain


@untimed
@given(characteristics(), st.permutations(list(TaskCharacteristics.model_fields)))
def test_the_order_of_keys_makes_no_difference(
    given: TaskCharacteristics, order: list[str]
) -> None:
    """Characteristics are the same in whatever order they were written."""
    values = given.model_dump()
    again = TaskCharacteristics(**{key: values[key] for key in order})

    assert classify("x", characteristics=again, catalog=CATALOG) == classify(
        "x", characteristics=given, catalog=CATALOG
    )
