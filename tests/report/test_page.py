"""The report tells what results.json says, in one file that needs nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fedcl.atomic import write_json, write_text
from fedcl.errors import RunError
from fedcl.report.page import byte_size, duration, number, percent, verdict, write_report
from fedcl.report.results import (
    CohortInfo,
    CurvePoint,
    Evaluation,
    Measured,
    Measures,
    Results,
    RunInfo,
    SiteRow,
    Skipped,
    TrainingInfo,
    write_results,
)
from fedcl.run_folder import RunFolder

SIZES = {"north": 5, "south": 8, "12": 13}
NASTY = "<script>alert('$1')</script> & \"Müller\" 東京"


def measured(value: float) -> Measured:
    return Measured(value=value, low=value * 0.8, high=value * 1.1)


def measures(*, site_probe: bool = True, external: bool = True) -> Measures:
    rows = [
        SiteRow(site=site, split="internal", participants=size, mae=0.3 * size, mean_error=-0.004)
        for site, size in SIZES.items()
    ]
    if external:
        rows.append(SiteRow(site="far", split="external", participants=4, mae=4.1, mean_error=-2.5))
    both = site_probe and external
    return Measures(
        dim=6,
        mae_internal=measured(2.94),
        mae_external=measured(3.43) if external else None,
        site_balanced_accuracy=measured(0.213) if site_probe else None,
        site_chance=1 / 3 if site_probe else None,
        site_from_age=0.064 if site_probe else None,
        challenge_score=measured(3.43 * 0.213**0.3) if both else None,
        median_internal=6.81,
        median_external=7.52 if external else None,
        per_site=tuple(rows),
    )


def results(kind: str = "simulate", *, name: str = "tiny", **found: bool) -> Results:
    local = kind == "local"
    if local:
        found = {"site_probe": False, **found}
    return Results(
        version=1,
        run=RunInfo(
            name=name,
            kind=kind,
            started="2025-05-04T09:12:44+00:00",
            seconds=75.0,
            fedcl_version="0.1.0",
            config_digest="c0ffee",
            data_digest="decade",
            privacy="none: the weights may tell about the participants behind them",
        ),
        cohort=CohortInfo(
            name="table",
            sites=5,
            training_sites=3,
            participants={"train": 20, "internal_test": 6, "external_test": 4},
            skipped=(Skipped(site="tiny & co", participants=2, reason="fewer than 3"),),
        ),
        training=TrainingInfo(
            encoder="mlp",
            parameters=1234,
            rounds=2,
            epochs=1,
            loss="l_exp",
            rule="fedavg",
            device="cpu",
            workers=1,
            seconds=12.0,
            seconds_per_round=6.0,
            bytes_per_round=1_234_000,
            peak_memory_mb=512,
        ),
        evaluation=Evaluation(representation=measures(**found), embedding=measures(**found)),
        curve=()
        if local
        else (
            CurvePoint(round=1, loss=2.5, mae_internal=None, mae_external=None),
            CurvePoint(round=2, loss=None, mae_internal=2.94, mae_external=3.43),
        ),
    )


def run_folder(path: Path, found: Results, *, site: str = "far", people: int = 30) -> RunFolder:
    """A run on disk, with the files that the report reads."""
    folder = RunFolder(path)
    rng = np.random.default_rng(20_230_417)
    ages = rng.uniform(18, 80, people).round(1)
    places = rng.normal(size=(2, people))
    splits = [("train", "internal_test", "external_test")[i % 3] for i in range(people)]
    write_results(folder.results, found)
    write_json(
        path / "figures.json",
        {
            "map": {
                "x": places[0].tolist(),
                "y": places[1].tolist(),
                "age": ages.tolist(),
                "site": [site if split == "external_test" else "12" for split in splits],
                "split": splits,
            },
            "predictions": {
                row.split: {"true": [30.5, 61.0, 22.0], "predicted": [33.1, 55.2, 24.9]}
                for row in found.evaluation.representation.per_site
            },
        },
    )
    answered = {"seconds": 1.0, "bytes": 400, "rejected": None}
    silent = {"seconds": None, "bytes": 0, "rejected": "no answer in time"}
    records = [
        {
            "round": round_number,
            "seconds": 6.0,
            "loss": loss,
            "bytes": 800,
            "sites": {"north": answered, "12": answered, "south": silent},
        }
        for round_number, loss in ((1, 2.5), (2, float("nan")))
    ]
    lines = [] if found.run.kind == "local" else records
    write_text(folder.log, "".join(json.dumps(line) + "\n" for line in lines))
    write_text(path / "config.yaml", f"name: {json.dumps(found.run.name)}\nsites_per_round: null\n")
    return folder


class Page(HTMLParser):
    """The words a reader sees, the elements and their ids, and every address they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)

    def handle_data(self, data):
        if self.tags and self.tags[-1] != "style":
            self.words.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(path: Path, found: Results, **options) -> Page:
    return Page(write_report(run_folder(path, found, **options)).read_text(encoding="utf-8"))


@pytest.mark.parametrize("people", [30, 1200])
def test_the_report_needs_no_other_file(tmp_path, people):
    file = write_report(run_folder(tmp_path, results(), people=people))
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert file == tmp_path / "report.html"
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in page.addresses)
    assert not {"script", "link", "iframe", "img", "base"} & set(page.tags)
    assert not re.search(r"https?:|file:|@import", text)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_figures_share_the_page_without_sharing_ids(tmp_path):
    text = write_report(run_folder(tmp_path, results())).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") == 7
    assert len(page.ids) == len(set(page.ids))
    pointed = [a[1:] for a in page.addresses if a.startswith("#")]
    pointed += re.findall(r"url\(#([^)]*)\)", text)
    assert set(pointed) <= set(page.ids)


def test_names_are_escaped(tmp_path):
    found = results(name=NASTY)
    probed = found.evaluation.representation
    row = probed.per_site[-1].model_copy(update={"site": NASTY})
    probed = probed.model_copy(update={"per_site": (*probed.per_site[:-1], row)})
    found = found.model_copy(
        update={"evaluation": Evaluation(representation=probed, embedding=probed)}
    )
    page = page_of(tmp_path, found, site=NASTY)
    assert "script" not in page.tags
    assert NASTY in page.shown


def test_the_verdict_tells_the_numbers_of_the_results(tmp_path):
    found = results()
    assert verdict(found) == (
        "Predicts age on sites it never saw to within 3.4 years on average (7.5 when always "
        "guessing the median age); a linear probe recognises the acquisition site of 21 % of "
        "participants (chance 33 %; 6.4 % from age alone)."
    )
    assert verdict(found) in page_of(tmp_path, found).shown


def test_a_run_no_better_than_guessing_is_told_so():
    found = results()
    poor = found.evaluation.representation.model_copy(update={"mae_external": measured(7.6)})
    found = found.model_copy(update={"evaluation": Evaluation(representation=poor, embedding=poor)})
    assert "within 7.6 years on average, no better than guessing (7.5 when" in verdict(found)


def test_without_unseen_sites_the_verdict_is_on_new_participants():
    assert verdict(results(external=False)).startswith(
        "Predicts age on new participants of the training sites to within 2.9 years"
    )


@pytest.mark.parametrize(
    "found",
    [
        results(),
        results("pooled"),
        results("local"),
        results(external=False),
        results("local", external=False),
    ],
    ids=lambda found: f"{found.run.kind}-{len(found.evaluation.representation.per_site)}",
)
def test_what_is_undefined_is_a_dash(tmp_path, found):
    shown = page_of(tmp_path, found).shown
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|undefined", shown)
    assert ("Undefined here" in shown) == (found.run.kind == "local")
    assert ("share no space" in shown) == (found.run.kind == "local")


def test_a_run_without_any_test_participant_is_still_reported(tmp_path):
    found = results()
    nothing = {name: None for name in Measures.model_fields if name not in ("dim", "per_site")}
    empty = Measures(dim=6, per_site=(), **nothing)
    found = found.model_copy(
        update={"evaluation": Evaluation(representation=empty, embedding=empty), "curve": ()}
    )
    shown = page_of(tmp_path, found).shown
    assert "no test participant to measure it on" in shown
    assert "None" not in shown


def test_a_rejected_site_is_named_with_its_reason(tmp_path):
    shown = page_of(tmp_path, results()).shown
    assert "site south : no answer in time" in shown
    assert "2 / 3" in shown


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = run_folder(tmp_path, results())
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_run_without_results_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="fedcl evaluate"):
        write_report(RunFolder(tmp_path))


def test_a_run_without_figures_says_what_to_do(tmp_path):
    folder = run_folder(tmp_path, results())
    (tmp_path / "figures.json").unlink()
    with pytest.raises(RunError, match="fedcl evaluate"):
        write_report(folder)


def test_values_read_well():
    assert [number(v) for v in (None, float("nan"), -0.001, -2.5)] == ["–", "–", "0.00", "−2.50"]
    assert [percent(v) for v in (0.0171, 0.0999, 0.214, 1.0)] == ["1.7 %", "10 %", "21 %", "100 %"]
    assert [byte_size(v) for v in (0, 999, 2_165_908, 1.84e9)] == [
        "0 bytes",
        "999 bytes",
        "2.17 MB",
        "1.84 GB",
    ]
    assert [duration(v) for v in (0.25, 49.8, 612, 7260)] == [
        "0.2 s",
        "50 s",
        "10 min 12 s",
        "2 h 1 min",
    ]
