"""The report tells what results.json says, in one file that needs nothing else."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fedcl.errors import RunError
from fedcl.files.atomic import write_json, write_text
from fedcl.report.number_text import byte_size, duration, number, percent
from fedcl.report.page import run_verdict, write_report
from fedcl.report.svg import COLOURS
from fedcl.run_folder.evaluation_file import RoundEvaluation, add_round
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import EvaluationResults, Measures, Results, write_results
from tests.reading import Page
from tests.report.made import erased, measured, results

pytestmark = pytest.mark.slow

NASTY = "<script>alert('$1')</script> & \"Müller\" 東京"


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
            "map": None
            if found.run.kind == "local"
            else {
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


def page_of(path: Path, found: Results, **options) -> Page:
    return Page(write_report(run_folder(path, found, **options)).read_text(encoding="utf-8"))


@pytest.mark.parametrize("people", [30, 1200])
@pytest.mark.usefixtures("rendered")
def test_the_report_needs_no_other_file(tmp_path, people):
    file = write_report(run_folder(tmp_path, results(), people=people))
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert file == tmp_path / "report.html"
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in page.addresses)
    assert not {"script", "link", "iframe", "img", "base"} & set(page.tags)
    assert not re.search(r"https?:|file:|@import", text)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


@pytest.mark.usefixtures("rendered")
def test_figures_share_the_page_without_sharing_ids(tmp_path):
    text = write_report(run_folder(tmp_path, results())).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") == 7
    assert len(page.ids) == len(set(page.ids))
    pointed = [a[1:] for a in page.addresses if a.startswith("#")]
    pointed += re.findall(r"url\(#([^)]*)\)", text)
    assert set(pointed) <= set(page.ids)


@pytest.mark.usefixtures("rendered")
def test_names_are_escaped(tmp_path):
    found = results(name=NASTY)
    probed = found.evaluation.representation
    row = probed.per_site[-1].model_copy(update={"site": NASTY})
    probed = probed.model_copy(update={"per_site": (*probed.per_site[:-1], row)})
    found = found.model_copy(
        update={"evaluation": EvaluationResults(representation=probed, embedding=probed)}
    )
    page = page_of(tmp_path, found, site=NASTY)
    assert "script" not in page.tags
    assert NASTY in page.shown


def test_the_verdict_tells_the_numbers_of_the_results(tmp_path):
    found = results()
    assert run_verdict(found) == (
        "Predicts age on sites it never saw to within 3.4 years on average (7.5 when always "
        "guessing the median age); a linear probe recognises the acquisition site 21 % of the "
        "time (chance 33 %; 6.4 % from age alone)."
    )
    assert run_verdict(found) in page_of(tmp_path, found).shown


def test_a_run_no_better_than_guessing_is_told_so():
    found = results()
    poor = found.evaluation.representation.model_copy(update={"mae_external": measured(7.6)})
    found = found.model_copy(
        update={"evaluation": EvaluationResults(representation=poor, embedding=poor)}
    )
    assert "within 7.6 years on average, no better than guessing (7.5 when" in run_verdict(found)


def test_without_unseen_sites_the_verdict_is_on_new_participants():
    assert run_verdict(results(external=False)).startswith(
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
@pytest.mark.usefixtures("rendered")
def test_what_is_undefined_is_a_dash(tmp_path, found):
    shown = page_of(tmp_path, found).shown
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|undefined", shown)
    assert ("Undefined here" in shown) == (found.run.kind == "local")
    assert ("share no space" in shown) == (found.run.kind == "local")


def test_a_collapsed_run_says_so_at_the_top(tmp_path):
    found = results()
    worst = {"spread": 0.0004, "collapsed_rounds": 1}
    found = found.model_copy(update={"training": found.training.model_copy(update=worst)})
    shown = page_of(tmp_path, found).shown
    assert "The encoder has collapsed: in the last round" in shown
    assert shown.index("has collapsed") < shown.index("Age error, unseen sites")


@pytest.mark.usefixtures("rendered")
def test_a_run_without_any_test_participant_is_still_reported(tmp_path):
    found = results()
    nothing = {name: None for name in Measures.model_fields if name not in ("dim", "per_site")}
    empty = Measures(dim=6, per_site=(), **nothing)
    found = found.model_copy(
        update={"evaluation": EvaluationResults(representation=empty, embedding=empty), "curve": ()}
    )
    shown = page_of(tmp_path, found).shown
    assert "no test participant to measure it on" in shown
    assert "None" not in shown


def test_a_rejected_site_is_named_with_its_reason(tmp_path):
    shown = page_of(tmp_path, results()).shown
    assert "site south : no answer in time" in shown
    assert "2 / 3" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_the_same_run_gives_the_same_page(tmp_path):
    folder = run_folder(tmp_path, results())
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_run_without_results_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"no results yet; .* with --resume"):
        write_report(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["figures.json", "config.yaml"])
def test_a_run_without_a_file_says_what_to_do(tmp_path, name):
    folder = run_folder(tmp_path, results())
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"{name}: absent; .* fedcl evaluate"):
        write_report(folder)


def test_damaged_figures_say_what_to_do(tmp_path):
    folder = run_folder(tmp_path, results())
    write_text(tmp_path / "figures.json", '{"map": ')
    with pytest.raises(RunError, match=r"figures\.json: damaged; .* fedcl evaluate"):
        write_report(folder)


def test_a_log_of_another_version_is_still_shown(tmp_path):
    folder = run_folder(tmp_path, results())
    write_text(folder.log, '{"round": 1}\n{"round": 2, "sites": {"12": {}}, "loss": 2.125}\n')
    shown = Page(write_report(folder).read_text(encoding="utf-8")).shown
    assert "2.1250" in shown
    assert "1 / 1" in shown


@pytest.mark.usefixtures("rendered")
def test_the_colours_of_the_splits_are_those_of_the_page(tmp_path):
    """A dark page makes them brighter; a colour written into a figure would not follow."""
    text = write_report(run_folder(tmp_path, results())).read_text(encoding="utf-8")
    for name, colour in COLOURS.items():
        assert text.count(colour) == 1, name


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


@pytest.mark.slow
def test_what_the_federation_measured_itself_stands_beside_the_pooled_probes(tmp_path):
    folder = run_folder(tmp_path, results())
    assert "Evaluated from sums" not in write_report(folder).read_text(encoding="utf-8")
    found = {
        "dim": 6,
        "alpha": 1.0,
        "mae_internal": 3.14,
        "mae_external": None,
        "site_balanced_accuracy": 0.4231,
        "site_chance": 0.5,
        "challenge_score": None,
        "participants": {"train": 30, "internal": 12, "external": 0},
        "groups": [],
    }
    measured_round = {
        "round": 2,
        "min_cell": 10,
        "features": ["embedding"],
        "seconds": 0.5,
        "bytes": 800,
        "sent_bytes": 400,
        "sites": {"north": {"participants": 30, "rejected": None}},
        "problem": None,
        "measures": {"embedding": found},
    }
    add_round(folder.evaluation, RoundEvaluation.model_validate(measured_round))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "Evaluated from sums" in text
    assert "3.14" in text
    assert "42 %" in text
    assert "fewer than 10 participants" in text
    nothing = {**measured_round, "measures": {}, "problem": "1 of them say the sums"}
    add_round(folder.evaluation, RoundEvaluation.model_validate(nothing))
    assert "1 of them say the sums" in write_report(folder).read_text(encoding="utf-8")
    folder.evaluation.write_text('{"version": 2}')
    with pytest.raises(RunError, match=r"evaluation\.json: not an evaluation of this version"):
        write_report(folder)


def test_an_erased_run_shows_what_was_measured_before(tmp_path):
    page = write_report(run_folder(tmp_path, erased())).read_text(encoding="utf-8")
    assert "Site erased" in page
    assert "embedding, as trained" in page
    assert "2 of 6" in page
    assert "Site erased" not in write_report(run_folder(tmp_path / "b", results())).read_text()
