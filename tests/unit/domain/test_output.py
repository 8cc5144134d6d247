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
    """The line between says how much is missing; `bytes` is the true size."""
    output = Output.of("a" * 50 + "b" * 50, cap=20)

    assert output.text == "a" * 10 + "\n[... 80 bytes cut ...]\n" + "b" * 10
    assert (output.bytes, output.truncated) == (100, True)


def test_a_part_says_the_size_of_the_whole() -> None:
    """Where only a part was kept, that is no secret."""
    output = Output.of_bytes(b"part", cap=10, size=1000)

    assert (output.text, output.bytes, output.truncated) == ("part", 1000, True)


def test_a_character_is_never_cut_in_half() -> None:
    """The cut falls between characters, so the text stays valid."""
    output = Output.of("é" * 10, cap=6)

    assert output.text == "é\n[... 14 bytes cut ...]\né"


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
    assert output.shortened(10).bytes == 100
    assert output.shortened(10).truncated
    assert "cut" in output.shortened(10).text


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.binary(max_size=300), st.integers(2, 64))
def test_the_kept_text_is_bounded_and_valid(raw: bytes, cap: int) -> None:
    """Whatever was written: valid Unicode, about the cap, the size to the byte."""
    output = Output.of_bytes(raw, cap=cap)

    assert output.bytes == len(raw)
    assert output.truncated == (len(raw) > cap)
    assert len(output.text.encode()) <= 3 * cap + 40
