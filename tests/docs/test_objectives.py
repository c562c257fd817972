"""The page on objectives names every loss and debiasing term that a configuration may have."""

from pathlib import Path

import pytest

from fedcl.config.debiasing import DEBIASING
from fedcl.config.loss_records import LOSSES

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "objectives.md"
TABLES = PAGE.read_text(encoding="utf-8").partition("## Losses")[2]
ROWS = [line for line in TABLES.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_row_with_its_own_keys_and_variant(name):
    row = next(row for row in ROWS if f"`{name}`" in row.split("|")[1])
    record = LOSSES[name]
    assert all(f"`{key}`" in row for key in record.keys)
    assert record.authors_differ_by in row


@pytest.mark.parametrize("name", DEBIASING)
def test_every_debiasing_term_has_a_row(name):
    assert any(f"`{name}`" in row.split("|")[1] for row in ROWS)
