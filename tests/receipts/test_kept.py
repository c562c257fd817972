"""Receipts on disk: found where a site or a run keeps them, whole or told which line is not."""

import json

import pytest

from fedcl.errors import ReceiptError, RunError
from fedcl.files.hash_chain import Chain
from fedcl.receipts.describe import describe
from fedcl.receipts.log import Receipts, put_aside_damaged, receipts_at
from tests.receipts.made import REFUSAL, SHA256, record, update


def test_receipts_come_back_in_order(tmp_path):
    kept = record(tmp_path / "receipts.jsonl").read()
    assert [one.round for one in kept.receipts] == [0, 1, 2, 3]
    assert [one.kind for one in kept.receipts] == ["introduction", *["update"] * 3]
    assert kept.problem is None
    assert "4 receipts whole, from 2031-05-17T09:30:00Z to 2031-05-17T09:33:00Z" in kept.says
    assert kept.last in kept.says


def test_an_altered_receipt_is_told_by_its_line(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl")
    lines = receipts.path.read_text().splitlines(True)
    lines[2] = lines[2].replace('"bytes": 48', '"bytes": 49')
    receipts.path.write_text("".join(lines))
    kept = receipts.read()
    assert "line 4: does not follow from the line before" in kept.problem
    assert [one.round for one in kept.receipts] == [0, 1]
    assert "2 receipts whole" in kept.says


def test_nothing_is_kept_after_a_receipt_was_altered(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl")
    receipts.path.write_text(receipts.path.read_text().replace("study", "other"))
    with pytest.raises(ReceiptError, match="restore it from a backup, or put it aside"):
        receipts.keep(describe(REFUSAL, round_number=4))


def test_a_line_that_is_no_receipt_is_told(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    chain = Chain(receipts.path, name="record", lines="receipts", durable=False)
    chain.append({"kind": "gift"})
    kept = receipts.read()
    assert "line 3: not a receipt of this version" in kept.problem
    assert len(kept.receipts) == 2


def test_a_receipt_without_a_mark_is_told(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl")
    mark = receipts.path.with_suffix(".head")
    before = mark.read_bytes()
    receipts.keep(describe(REFUSAL, round_number=4))
    mark.write_bytes(before)
    assert "no mark yet" in receipts.read().says


def test_runs_are_told_apart_by_their_text(tmp_path):
    receipts = record(tmp_path / "receipts.jsonl", rounds=1)
    receipts.keep(describe(REFUSAL, round_number=1, config_sha256="cd" * 32))
    receipts.keep(describe(REFUSAL, round_number=0))
    # The same experiment, before the site could open it.
    receipts.keep(describe(REFUSAL, round_number=2, config_sha256=SHA256))
    assert [len(run) for run in receipts.read().runs] == [3, 1, 1]


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReceiptError, match="cannot be written"):
        Receipts(tmp_path / "file" / "receipts.jsonl", durable=True).keep(
            describe(update(), round_number=1)
        )


def test_receipts_are_found_in_a_file_a_site_and_a_run(tmp_path):
    site = record(tmp_path / "south" / "memory" / "receipts.jsonl").path
    one = record(tmp_path / "run" / "sites" / "site-a" / "receipts.jsonl").path
    two = record(tmp_path / "run" / "sites" / "site-b" / "receipts.jsonl").path
    (tmp_path / "run" / "sites" / "site-c").mkdir()

    def found(path):
        return [receipts.path for receipts in receipts_at(path)]

    assert found(site) == found(tmp_path / "south") == found(site.parent) == [site]
    assert found(tmp_path / "run") == [one, two]
    assert found(tmp_path / "run" / "sites" / "site-b") == [two]


def test_a_record_that_was_removed_is_found_by_its_mark(tmp_path):
    path = record(tmp_path / "memory" / "receipts.jsonl").path
    path.unlink()
    (receipts,) = receipts_at(tmp_path)
    assert "4 receipts were made and 0 are there" in receipts.read().problem


def test_damaged_records_of_a_simulation_are_put_aside_and_still_refused(tmp_path):
    whole = record(tmp_path / "sites" / "site-a" / "receipts.jsonl", rounds=1).path
    for lines in (2, 1, 0):
        cut = record(tmp_path / "sites" / "site-b" / "receipts.jsonl", rounds=1).path
        cut.write_text("".join(cut.read_text().splitlines(True)[:lines]))
        put_aside_damaged(tmp_path / "sites")
    kept = {one.path: one.read() for one in receipts_at(tmp_path)}
    assert kept.pop(whole).problem is None
    # The first was whole, so that the second ran on in it.
    assert sorted(path.name for path in kept) == [
        "receipts-damaged-1.jsonl",
        "receipts-damaged-2.jsonl",
    ]
    assert all("are there" in one.problem for one in kept.values())


def test_a_folder_without_receipts_says_where_they_would_be(tmp_path):
    with pytest.raises(RunError, match=r"no receipts here; name a receipts\.jsonl, a site's"):
        receipts_at(tmp_path)


def test_a_line_says_no_more_than_it_should(tmp_path):
    line = json.loads(record(tmp_path / "receipts.jsonl").path.read_text().splitlines()[1])
    assert set(line) == {
        "before",
        "kind",
        "round",
        "step",
        "attempt",
        "time",
        "run",
        "config_sha256",
        "participants",
        "arrays",
        "header",
        "header_bytes",
        "bytes",
        "masked",
        "noise",
        "epsilon",
        "reason",
        "objects",
    }
    assert set(line["arrays"][0]) == {"name", "shape", "dtype", "bytes", "norm"}
