"""Cron expressions drawn from the grammar, and texts that are almost some."""

from __future__ import annotations

from random import Random

_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_STAR_SHARES = (0.2, 0.3, 0.6, 0.75, 0.6)
_NAMES = (
    (),
    (),
    (),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)
_FIRST_NAMED = (0, 0, 0, 1, 0)
_LETTERS = "0123456789*/,- ?#LW@aefjlmnostuwz\u0663\u00b2\x00%+.:"


def draw_expression(random: Random, *, near: int) -> str:
    """Draw five fields, often with an hour at which the clocks of a zone change.

    Args:
        random: Decides.
        near: The minute of the day at which they do.
    """
    fields = [_draw_field(random, number) for number in range(len(_LIMITS))]
    if random.random() < 0.6:
        hours = {max(0, min(23, near // 60 + random.choice((-1, 0, 0, 1)))) for _ in range(2)}
        fields[1] = ",".join(map(str, sorted(hours)))
    if random.random() < 0.2:
        fields[0] = str((near + random.choice((-30, -1, 0, 1, 30))) % 60)
    return " ".join(fields)


def draw_mutant(random: Random, expression: str) -> str:
    """Change an expression in one to three places; it may stay a valid one."""
    text = expression
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(text) + 1)
        letter = random.choice(_LETTERS)
        text = random.choice(
            (
                text[:place] + letter + text[place:],
                text[:place] + text[place + 1 :],
                text[:place] + letter + text[place + 1 :],
                text[:place] + text[place:][:3] + text[place:],
                f"{text} {letter}",
            )
        )
    return text


def _draw_field(random: Random, number: int) -> str:
    if random.random() < _STAR_SHARES[number]:
        return random.choice(("*", "*", f"*/{_draw_step(random, number)}"))
    items = 1 if random.random() < 0.6 else random.randint(2, 3)
    return ",".join(_draw_item(random, number) for _ in range(items))


def _draw_item(random: Random, number: int) -> str:
    low, high = _LIMITS[number]
    first, last = sorted(random.randint(low, high) for _ in range(2))
    kind = random.random()
    if kind < 0.55:
        return _written(random, number, first)
    span = f"{_written(random, number, first)}-{_written(random, number, last)}"
    return span if kind < 0.8 else f"{span}/{_draw_step(random, number)}"


def _draw_step(random: Random, number: int) -> int:
    low, high = _LIMITS[number]
    return random.choice((1, 2, 3, 5, 7, 15, 20, 30, random.randint(1, high - low + 3)))


def _written(random: Random, number: int, value: int) -> str:
    """Write a value as a number, or sometimes by its name in any case."""
    place = value - _FIRST_NAMED[number]
    if place < len(_NAMES[number]) and random.random() < 0.3:
        name = _NAMES[number][place]
        return random.choice((name, name.upper(), name.title()))
    return str(value)
