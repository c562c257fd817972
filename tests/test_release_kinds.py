"""Each kind of release has one record, and what leaves a site is what the record says."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pytest

from fedcl.arrays.tensors import State
from fedcl.config.site import Releasable
from fedcl.deployment.limits import releases_of
from fedcl.errors import LimitError, WireError
from fedcl.messages import releases
from fedcl.messages.fields import PARTICIPANTS, ROUND, SITE, Arrays, HeaderValue
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import (
    KINDS,
    Introduction,
    Release,
    kind_named,
    kind_of,
    kind_of_class,
    pack_release,
    unpack_release,
)
from fedcl.receipts.describe import describe
from fedcl.receipts.log import Receipts
from fedcl.report.receipts import write_page
from fedcl.server.reply_checks import checked_release, read_reply
from fedcl.sites.agreement import require_releasable
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import config_of, table_tree
from tests.deployment.homes import home_at
from tests.reading import Page
from tests.receipts.made import RELEASES

TIME = datetime(2031, 5, 17, tzinfo=UTC)
BY_KIND = {kind_of(release).name: release for release in reversed(RELEASES)}
HEADERS = {
    "introduction": ["kind", "site", "participants", "shape", "feature_count"],
    "moments": ["kind", "site", "round", "participants", "seconds"],
    "private moments": ["kind", "site", "round", "participants", "seconds"],
    "gradient": ["kind", "site", "round", "step", "participants", "seconds"],
    "step gradient": [
        *("kind", "site", "round", "step", "participants", "part", "terms", "totals", "counts"),
        *("skipped", "seconds"),
    ],
    "step moments": ["kind", "site", "round", "step", "participants", "part", "seconds"],
    "step slopes": ["kind", "site", "round", "step", "participants", "part", "seconds"],
    "update": [
        *("kind", "site", "round", "participants", "terms", "totals", "counts", "skipped"),
        *("steps", "seconds"),
    ],
    "evaluation sums": ["kind", "site", "round", "participants", "features", "seconds"],
    "evaluation errors": [
        *("kind", "site", "round", "participants", "features", "cells", "counts", "tested"),
        *("recognised", "seconds"),
    ],
    "erasure sums": ["kind", "site", "round", "participants", "features", "seconds"],
    "refusal": ["kind", "site", "reason"],
    "sum offer": [
        *("site", "round", "kind", "participants", "names", "dims", "sizes", "mask_key"),
        *("share_key", "self_mask", "signature", "steps", "seconds"),
    ],
    "sealed shares": ["site", "round", "kind", "sites", "sealed"],
    "masked input": ["site", "round", "kind"],
    "survivor signature": ["site", "round", "kind", "signature"],
    "revealed shares": [
        *("site", "round", "kind", "gone", "mask_keys", "survivors", "self_masks"),
    ],
}
"""Keys in their order, which is part of the bytes, as of version 0.1."""


def every_kind():
    return pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def test_every_class_of_releases_has_one_record():
    assert sorted(one.__name__ for one in get_args(Release)) == sorted(
        kind.release.__name__ for kind in KINDS
    )
    assert {kind_of_class(one).release for one in get_args(Release)} == set(get_args(Release))


def test_no_two_kinds_share_a_name_or_words():
    for attribute in ("name", "words", "phrase"):
        assert len({getattr(kind, attribute) for kind in KINDS}) == len(KINDS)


def test_the_tests_know_a_release_of_every_kind():
    assert set(BY_KIND) == {kind.name for kind in KINDS}


@every_kind()
def test_every_attribute_of_a_release_travels_once(kind):
    names = [field.name for field in kind.fields if field != KIND]
    assert sorted(names) == sorted(field.name for field in fields(kind.release))
    assert kind.fields.count(KIND) == 1


@every_kind()
def test_the_words_of_a_kind_are_sentences(kind):
    assert kind.words[0].isupper()
    assert kind.words.endswith(".")
    assert len(kind.words.split()) > 10


@every_kind()
def test_the_header_has_the_keys_of_version_0_1_in_their_order(kind):
    packet = pack_release(BY_KIND[kind.name])
    assert list(packet.header) == HEADERS[kind.name]
    assert packet.header["kind"] == kind.name


@every_kind()
def test_a_release_arrives_as_it_left(kind):
    sent = BY_KIND[kind.name]
    received = decode_release(encode_release(sent))
    assert type(received) is type(sent)
    assert describe(received, round_number=4, time=TIME) == describe(
        sent, round_number=4, time=TIME
    )


@every_kind()
def test_a_release_whose_arrays_are_gone_is_refused_or_had_none(kind):
    packet = pack_release(BY_KIND[kind.name])
    bare = replace(packet, groups={})
    if any(packet.groups.values()):
        with pytest.raises(WireError, match="the message carries no"):
            unpack_release(bare)


def test_every_limit_of_a_site_counts_some_kind():
    counted = {kind.limit.name for kind in KINDS if kind.limit is not None}
    assert counted == set(get_args(Releasable))
    assert [kind.name for kind in KINDS if kind.limit is None] == ["refusal"]


@pytest.mark.parametrize("kind", [one for one in KINDS if one.limit], ids=lambda kind: kind.name)
def test_a_release_needs_the_entry_of_its_kind_in_the_limits(kind, tmp_path):
    release = BY_KIND[kind.name]
    others = [name for name in get_args(Releasable) if name != kind.limit.name]
    with pytest.raises(LimitError, match=f"limits.releases: {kind.limit.name} may not leave"):
        require_releasable(release, home_at(tmp_path / "closed", limits__releases=others))
    require_releasable(release, home_at(tmp_path / "open", limits__releases=[kind.limit.name]))


def test_who_a_site_is_and_that_it_refuses_needs_no_entry(tmp_path):
    home = home_at(tmp_path, limits__releases=[])
    require_releasable(BY_KIND["refusal"], home)
    require_releasable(Introduction("north", 3, (6,), None), home)


def test_only_a_release_can_be_packed():
    for stranger in ({"participant_id": "x"}, None, BY_KIND["sum offer"].keys):
        with pytest.raises(TypeError, match="is not a release: it may not leave the site"):
            encode_release(stranger)


def test_a_refusal_with_words_of_its_own_cannot_be_packed():
    with pytest.raises(ValueError, match="details stay at the site"):
        encode_release(replace(BY_KIND["refusal"], reason="sub-012 is 3 years old"))


# --- a kind that exists in this test only --------------------------------------------------


@dataclass(frozen=True)
class Thickness:
    """Mean cortical thickness of a site, mm."""

    site: str
    round: int
    participants: int
    mean_mm: float
    maps: State


THICKNESS = ReleaseKind(
    name="thickness",
    release=Thickness,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, HeaderValue("mean_mm", float), Arrays("maps")),
    phrase="a thickness",
    words="The mean thickness of the cortex over the site's participants, and a map of it.",
    limit=SiteLimit("evaluation", asked_by=lambda config: config.name == "thick"),
)


@pytest.fixture
def thickness(monkeypatch):
    monkeypatch.setattr(releases, "KINDS", (*KINDS, THICKNESS))
    maps = {"left": np.full(4, 2.5, np.float32)}
    return Thickness("zürich/3", 4, 13, 2.5, maps)


class Reply:
    """A reply that holds a record."""

    def __init__(self, content):
        self.content = content

    def has_error(self):
        return False


def test_a_new_kind_needs_no_more_than_its_record(thickness, tmp_path):
    record = encode_release(thickness)
    received = decode_release(record)
    assert received.mean_mm == 2.5
    np.testing.assert_array_equal(received.maps["left"], thickness.maps["left"])

    receipt = describe(thickness, round_number=4)
    assert (receipt.kind, receipt.participants, receipt.bytes) == (
        "thickness",
        13,
        payload_bytes(record),
    )
    assert [(one.name, one.norm) for one in receipt.arrays] == [("left", 5.0)]

    with pytest.raises(LimitError, match="evaluation may not leave this site"):
        require_releasable(thickness, home_at(tmp_path, limits__releases=["updates"]))
    tree = table_tree(tmp_path)
    assert "evaluation" not in releases_of(config_of(tree))
    assert "evaluation" in releases_of(config_of({**tree, "name": "thick"}))

    log = Receipts(tmp_path / "receipts.jsonl", durable=False)
    log.keep(receipt)
    page = Page(write_page(log.read()).read_text(encoding="utf-8")).shown
    assert THICKNESS.words in page

    answer = read_reply(Reply(record))
    introduction = Introduction("zürich/3", 13, (3,), None)
    checked = checked_release(answer, Thickness, introduction, Instruction(4, "", {}))
    assert checked.mean_mm == 2.5
    found = checked_release(answer, type(BY_KIND["update"]), introduction, Instruction(4, "", {}))
    assert found == "expected an update, found a thickness"


def test_another_type_of_array_of_a_new_kind_may_not_leave(thickness):
    wide = replace(thickness, maps={"left": np.zeros(4)})
    with pytest.raises(ValueError, match="left: float64 may not leave the site"):
        describe(wide, round_number=4)


def test_a_kind_that_nobody_recorded_is_unknown():
    packet = THICKNESS.pack(Thickness("a", 4, 13, 2.5, {}))
    with pytest.raises(WireError, match="unknown kind of release: 'thickness'"):
        unpack_release(packet)
    assert kind_named("thickness") is None
