"""The judge of histories is judged first: it finds what cannot have happened."""

from __future__ import annotations

from tests.faults.linearity import Act, State, is_linearizable

START = State("active", "", "")
PAUSED = State("paused", "", "")


def a_pause(begun: int, ended: int, *, answer: State = PAUSED) -> Act:
    """Make a call that pauses."""
    return Act(begun, ended, {"state": "paused"}, answer)


def a_look(begun: int, ended: int, *, answer: State) -> Act:
    """Make a call that changes nothing."""
    return Act(begun, ended, {}, answer)


def test_calls_in_a_row_are_explained_by_their_order() -> None:
    """Each answer shows what the calls before it left."""
    acts = [a_look(0, 1, answer=START), a_pause(2, 3), a_look(4, 5, answer=PAUSED)]

    assert is_linearizable(acts, initial=START)


def test_calls_that_overlap_may_come_in_either_order() -> None:
    """Who looks while a pause is under way may see it or not."""
    for seen in (START, PAUSED):
        assert is_linearizable([a_pause(0, 9), a_look(1, 8, answer=seen)], initial=START)


def test_an_answer_from_before_an_acknowledged_change_is_found() -> None:
    """After the answer nobody may see the job as it was."""
    acts = [a_pause(0, 1), a_look(2, 3, answer=START)]

    assert not is_linearizable(acts, initial=START)


def test_a_lost_change_is_found() -> None:
    """Two changes of different things that overlap are both there afterwards."""
    renote = Act(0, 9, {"note": "b"}, State("active", "b", ""))
    kept = a_look(10, 11, answer=State("paused", "b", ""))
    lost = a_look(10, 11, answer=State("active", "b", ""))

    assert is_linearizable([a_pause(0, 9, answer=kept.answer), renote, kept], initial=START)
    assert not is_linearizable([a_pause(0, 9), renote, lost], initial=START)
