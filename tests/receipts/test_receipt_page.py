"""The tables and the page tell what the receipts say, and first whether they are whole."""

import re

import numpy as np
import pytest
from rich.console import Console

from fedcl.errors import RunError
from fedcl.messages.releases import GradientShare, Introduction
from fedcl.receipts.describe import describe
from fedcl.receipts.line import AddedNoise
from fedcl.report.receipt_rows import rows_of
from fedcl.report.receipt_table import receipt_tables
from fedcl.report.receipts import kind_words, write_page
from tests.reading import Page
from tests.receipts.made import NOISE, REFUSAL, RELEASES, SHA256, SPENT, masked, record, update

NASTY = "<script>alert('$1')</script> & \"Müller\" 東京"
NAMED = {"run": "study", "config_sha256": SHA256}


def page_of(receipts):
    return Page(write_page(receipts.read()).read_text(encoding="utf-8"))


def shown(receipts, round_number=None):
    console = Console(width=140, file=None, record=True, quiet=False)
    with console.capture() as captured:
        for table in receipt_tables(receipts.read(), round_number):
            console.print(table)
    return captured.get()


@pytest.fixture
def receipts(tmp_path):
    return record(tmp_path / "receipts.jsonl")


def gradient(step, value):
    arrays = {"w": np.full(4, value, np.float32)}
    release = GradientShare("zürich/3", 2, step, 13, arrays, 0.1)
    noise = NOISE.model_copy(update={"private": False})
    spent = SPENT if step == 1 else None
    return describe(release, round_number=2, step=step, noise=noise, epsilon=spent, **NAMED)


def test_the_page_says_first_that_the_record_is_whole(receipts):
    page = page_of(receipts)
    text = page.shown
    assert "The record is whole: 4 receipts from 2031-05-17 09:30 to 2031-05-17 09:33 UTC" in text
    assert text.index("The record is whole") < text.index("What the releases are")
    assert "zürich/3" in text
    assert "≤ 4.50" in text
    assert kind_words("update") in text
    assert receipts.read().last in text


def test_the_page_of_a_damaged_record_says_so_and_tells_the_rest(receipts):
    lines = receipts.path.read_text()
    receipts.path.write_text(lines.replace('"participants": 13', '"participants": 12', 1))
    page = page_of(receipts)
    assert "This record is NOT whole." in page.shown
    assert "line 3: does not follow" in page.shown
    assert "The record is whole" not in page.shown
    assert "cannot be trusted" in page.shown


@pytest.mark.usefixtures("rendered")
def test_the_page_needs_no_other_file(receipts):
    text = write_page(receipts.read()).read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "base"} & set(page.tags)
    assert not re.search(r"https?:|file:|@import", text)
    assert page.tags.count("svg") == 2
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.usefixtures("rendered")
def test_names_are_escaped_on_the_page(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    receipts.keep(describe(Introduction(NASTY, 5, (3,), None), round_number=0, **NAMED))
    page = page_of(receipts)
    assert "script" not in page.tags
    assert NASTY in page.shown


def test_every_kind_of_release_is_told_in_words(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=0)
    for release in RELEASES:
        receipts.keep(describe(release, round_number=1, **NAMED))
    text = page_of(receipts).shown
    assert "does not know" not in text
    assert "the training failed" in text


def test_an_empty_record_says_that_nothing_left(receipts):
    receipts.path.unlink()
    receipts.path.with_suffix(".head").unlink()
    assert "Nothing has left this site yet" in page_of(receipts).shown


def test_the_steps_of_a_round_share_a_row(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    for step, value in ((1, 3.0), (2, 1.0), (3, 2.0)):
        receipts.keep(gradient(step, value))
    *_, row = rows_of(receipts.read().receipts, together=True)
    assert (row.place, row.what, row.participants, row.arrays) == ("2", "gradient × 3", "13", "1")
    assert row.norm == "2 to 6"
    assert row.noise == "2 × 1.5 × 0.5, NOT PRIVATE"
    assert row.epsilon == "≤ 3.25"
    places = [row.place for row in rows_of(receipts.read().receipts, together=False)]
    assert places == ["0", "1", "2.1", "2.2", "2.3"]
    assert row.bytes == f"{sum(one.bytes for one in receipts.read().receipts[-3:])} bytes"


def test_a_norm_that_is_not_a_number_is_never_hidden_by_others(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    for step, value in ((1, 3.0), (2, np.nan), (3, 2.0)):
        receipts.keep(gradient(step, value))
    *_, row = rows_of(receipts.read().receipts, together=True)
    assert row.norm == "nan"


def test_the_table_tells_a_round_release_by_release(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    receipts.keep(describe(masked(), round_number=2, **NAMED))
    receipts.keep(describe(REFUSAL, round_number=2, **NAMED))
    text = shown(receipts, 2)
    assert "masked input" in text
    assert "refusal: the training failed" in text
    assert "introduction" not in text
    assert "study (abababababababab), from 2031-05-17 09:30 UTC" in shown(receipts)
    assert shown(receipts, 7) == ""


def test_whole_noise_is_told_without_a_share(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=0)
    noise = AddedNoise(
        mechanism="gaussian", multiplier=1.25, sensitivity=2.0, share=1.0, private=True
    )
    receipts.keep(describe(update(), round_number=1, noise=noise, **NAMED))
    *_, row = rows_of(receipts.read().receipts, together=True)
    assert row.noise == "1.25 × 2"


def test_a_page_that_cannot_be_written_is_told(receipts, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fedcl.report.receipts.write_text", refused)
    with pytest.raises(RunError, match=r"receipts\.html: cannot be written: Permission denied"):
        write_page(receipts.read())
