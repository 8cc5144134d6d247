"""The written settings and the model never drift apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mahavishnu_sched_mcp.settings import Settings, load_settings, unsupported
from mahavishnu_sched_mcp.settings.reference import (
    PAGE_PATH,
    YAML_PATH,
    default_yaml,
    reference_page,
    write_reference,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "settings" / "examples").glob("*.yaml"))


def keys_of(values: dict[str, Any], path: str = "") -> set[str]:
    """Name every key of nested mappings."""
    found = set()
    for name, value in values.items():
        found.add(f"{path}{name}")
        if isinstance(value, dict):
            found |= keys_of(value, f"{path}{name}.")
    return found


def test_the_yaml_lists_exactly_the_fields_with_their_defaults() -> None:
    """settings/mahavishnu.yaml is the commented default, whole and nothing else."""
    written = yaml.safe_load((ROOT / YAML_PATH).read_text(encoding="utf-8"))

    assert keys_of(written) == keys_of(Settings().model_dump(mode="json"))
    assert Settings.model_validate(written) == Settings()


def test_every_key_of_the_yaml_has_a_comment() -> None:
    """Nobody has to look a key up elsewhere."""
    lines = (ROOT / YAML_PATH).read_text(encoding="utf-8").splitlines()

    silent = [
        line for line in lines if line.strip() and line.strip()[0] != "#" and "  # " not in line
    ]
    assert silent == []


@pytest.mark.parametrize("unit", ["seconds", "bytes", "days"])
def test_a_key_with_a_unit_in_its_name_says_it_in_the_comment(unit: str) -> None:
    """A number without a unit is half a number."""
    lines = (ROOT / YAML_PATH).read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if f"_{unit}:" in line]

    assert named
    assert [line for line in named if unit not in line.partition("#")[2]] == []


def test_the_generated_files_are_up_to_date() -> None:
    """A changed setting shows in the diff; `make docs` writes the files anew."""
    assert (ROOT / YAML_PATH).read_text(encoding="utf-8") == default_yaml()
    assert (ROOT / PAGE_PATH).read_text(encoding="utf-8") == reference_page()


def test_every_key_has_its_row_on_the_page() -> None:
    """The reference page knows each key of each section."""
    page = reference_page()
    names = {key.rpartition(".")[2] for key in keys_of(Settings().model_dump(mode="json"))}

    assert [
        name for name in sorted(names) if f"`{name}`" not in page and f".{name}`" not in page
    ] == []


def test_both_files_are_written_into_a_checkout(tmp_path: Path) -> None:
    """`make docs` makes the folders that are missing."""
    write_reference(tmp_path)

    assert (tmp_path / YAML_PATH).read_text(encoding="utf-8") == default_yaml()
    assert (tmp_path / PAGE_PATH).read_text(encoding="utf-8") == reference_page()


@pytest.mark.parametrize("path", [ROOT / YAML_PATH, *EXAMPLES], ids=lambda path: path.stem)
def test_each_settings_file_of_the_checkout_loads_and_has_effect(
    path: Path, tmp_path: Path
) -> None:
    """An example can be used as it stands, and promises nothing that this version lacks."""
    settings = load_settings(config=path, data_dir=tmp_path / "data", environ={})

    assert unsupported(settings) == []


def test_there_are_examples() -> None:
    """The folder of examples is found."""
    assert len(EXAMPLES) >= 3
