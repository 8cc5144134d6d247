"""What is kept of what a run wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mahavishnu_sched_mcp.domain.output import Output


def test_what_fits_is_kept_whole() -> None:
    """Up to the cap nothing is cut."""
    output = Output.of("héllo", cap=6)

    assert (output.text, output.bytes, output.truncated) == ("héllo", 6, False)


def test_what_does_not_fit_keeps_head_and_tail() -> None:
    """The line between says how much is missing and fits too; `bytes` is the true size."""
    output = Output.of("a" * 500 + "b" * 500, cap=106)

    assert output.text == "a" * 40 + "\n[... 920 bytes cut ...]\n" + "b" * 40
    assert (output.bytes, output.truncated) == (1000, True)
    assert len(output.text) == 106 - 1  # room for the digits of the whole size


def test_under_64_bytes_only_the_head_is_shown() -> None:
    """A line about what is cut would be longer than the text."""
    output = Output.of("a" * 500 + "b" * 500, cap=1000)

    assert output.shortened(10).text == "a" * 10
    assert output.shortened(0).text == ""
    assert (output.shortened(10).bytes, output.shortened(10).truncated) == (1000, True)


def test_a_part_says_the_size_of_the_whole() -> None:
    """Where only a part was kept, that is no secret."""
    output = Output.of_bytes(b"part", cap=10, size=1000)

    assert (output.text, output.bytes, output.truncated) == ("part", 1000, True)


def test_a_character_is_never_cut_in_half() -> None:
    """The cut falls between characters, so the text stays valid, and is counted to the byte."""
    head, middle, tail = Output.of("€" * 100, cap=70).text.split("\n")

    assert Output.of("€" * 100, cap=7).text == "€€"
    assert (set(head), set(tail)) == ({"€"}, {"€"})
    assert middle == f"[... {300 - 3 * len(head + tail)} bytes cut ...]"


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Output is data of any kind; what is shown is valid Unicode."""
    assert Output.of_bytes(b"a\xffb", cap=10).text == "a\ufffdb"


def test_output_is_always_marked_untrusted() -> None:
    """Nobody can declare a run's output to be instructions."""
    assert Output().trust == "untrusted"
    with pytest.raises(ValidationError):
        Output.model_validate({"trust": "trusted"})


def test_showing_less_leaves_the_true_size() -> None:
    """`output_bytes` of get_run cuts the view only."""
    output = Output.of("x" * 100, cap=1000)

    assert output.shortened(100) is output
    assert output.shortened(70).bytes == 100
    assert output.shortened(70).truncated
    assert "cut" in output.shortened(70).text


def test_what_is_cut_twice_counts_against_the_true_size() -> None:
    """The line that a first cut left is no output: it is neither shown nor counted."""
    kept = Output.of("a" * 5000 + "b" * 5000, cap=1000)

    shown = kept.shortened(105)

    assert shown.text == "a" * 39 + "\n[... 9922 bytes cut ...]\n" + "b" * 39
    assert shown.bytes == 10_000
    assert kept.shortened(len(kept.text) - 1).text.count("bytes cut") == 1


def test_a_line_that_the_run_wrote_itself_is_not_taken_for_ours() -> None:
    """Output may look like anything; the line about the cut stands in the middle."""
    forged = "\n[... 7 bytes cut ...]\n"
    kept = Output.of(forged + "a" * 5000 + "b" * 5000, cap=1000)

    shown = kept.shortened(200)

    assert shown.text.startswith(forged + "a")
    assert shown.text.endswith("b" * 50)


def test_a_kept_head_has_no_tail() -> None:
    """Where only the head was kept, its end is not passed off as the end of the whole."""
    kept = Output.of_bytes(b"a" * 60 + b"b" * 60, cap=200, size=1000)

    head, middle, tail = kept.shortened(100).text.split("\n")

    assert (set(head), tail) == ({"a"}, "")
    assert middle == f"[... {1000 - len(head)} bytes cut ...]"


def test_bytes_that_are_no_text_count_as_what_they_were() -> None:
    """A byte that is shown as a replacement is one byte of the true size."""
    shown = Output.of_bytes(b"\xff" * 100, cap=100).shortened(100)

    head, middle, tail = shown.text.split("\n")

    assert middle == f"[... {100 - len(head + tail)} bytes cut ...]"


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.binary(max_size=400), st.integers(0, 200), st.integers(0, 200))
def test_the_kept_text_is_bounded_and_valid(raw: bytes, cap: int, shown: int) -> None:
    """Whatever was written: valid Unicode, never over the cap once cut, the size to the byte."""
    output = Output.of_bytes(raw, cap=cap)
    view = output.shortened(shown)

    assert (output.bytes, view.bytes) == (len(raw), len(raw))
    assert output.truncated == (len(raw) > cap)
    assert not output.truncated or len(output.text.encode()) <= cap
    assert len(view.text.encode()) <= shown


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.text(max_size=300), st.integers(64, 300), st.integers(64, 300))
def test_what_is_shown_and_what_is_cut_add_up(text: str, cap: int, shown: int) -> None:
    """The number in the line is the true size less what stands around it."""
    text = text.replace("\n", " ")  # so that the only line break is ours
    view = Output.of(text, cap=cap).shortened(shown)

    head, _, rest = view.text.partition("\n[... ")
    count, _, tail = rest.partition(" bytes cut ...]\n")

    assert len((head + tail).encode()) + int(count or 0) == view.bytes
