"""A study's page: needs no other file, says everything, and no label can break it."""

import base64
import hashlib
import html
import re
from html.parser import HTMLParser

import pytest

from fedcl.files.atomic import write_json
from fedcl.report.svg import svg
from fedcl.study.arms import concrete_arms
from fedcl.study.measured_file import CellRow, MeasureRequest
from fedcl.study.page import write_study
from fedcl.study.run_trial import TrialFailure, keep_failure
from tests.study.small import found_of, measured, small_study, trial

pytestmark = pytest.mark.slow
EVIL = "<img src=x onerror=alert(1)> \"'`&amp; $x_1$ ${y} {{ 7 }}"
VOID = {"meta", "img", "br", "path", "use", "rect", "circle", "hr", "link", "input"}


class Read(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.attributes, self.texts = [], [], [], []
        self.open, self.crossed = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def cells(value, labels=("far", "near")):
    rows = [
        CellRow(
            split="external", kind="site", label=label, participants=12, mae=value, mean_error=-1
        )
        for label in labels
    ]
    for kind, label in (("sex", "female"), ("age", "20-30"), ("field", "3")):
        row = rows[0].model_copy(update={"kind": kind, "label": label})
        rows.append(row)
    return tuple(rows)


def axes_of(folder, **changes):
    """A study with one axis, another with two, and arms with none."""
    arms = {
        "together": {"train": "pooled"},
        "alone": {"train": "local"},
        "line": {"train": "simulate", "over": {"local.epochs": [1, 2, 4]}},
        "grid": {
            "train": "simulate",
            "over": {"local.epochs": [1, 2], "noise": {"some": {}, "much": {}}},
        },
    }
    return small_study(folder, arms=arms, metrics=["site_accuracy", "mae_external"], **changes)


def written(folder, study, *, map_sites=("far", "near"), missing=(), labels=("far", "near")):
    """Write a study in which every run but the `missing` is there."""
    pairs = []
    for number, (trial_, run) in enumerate(found_of(study, folder, everything(study))):
        if (trial_.arm.name, trial_.seed) in missing:
            pairs.append((trial_, None))
            continue
        run = measured(2.0 + number / 7, run.kind, cells=cells(2.0 + number / 7, labels))
        first = trial_.seed == study.seeds[0] and trial_.arm.train != "local"
        asked = MeasureRequest(smallest_cell=2, attack_runs=None, map=first)
        trial_ = trial(folder, trial_.arm, trial_.seed, asked=asked)
        if first:
            sites = [map_sites[place % len(map_sites)] for place in range(12)]
            points = {
                "x": [float(place) for place in range(12)],
                "y": [float(place % 5) for place in range(12)],
                "site": sites,
                "age": [20.0 + place for place in range(12)],
                "split": ["train"] * 8 + ["external_test"] * 4,
            }
            write_json(trial_.entry.map, points)
        pairs.append((trial_, run))
    results = write_study(study, pairs)
    return results, (study.output / "study.html").read_text(encoding="utf-8")


def everything(study):
    return {(arm.name, seed): 3.0 for arm in concrete_arms(study) for seed in study.seeds}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, rendered):
    """Slow (about 5 s): a page with every kind of figure."""
    folder = tmp_path_factory.mktemp("page")
    study = axes_of(folder)
    return folder, study, *written(folder, study)


def test_the_page_loads_nothing_from_anywhere(whole):
    page = Read(whole[3])
    for tag, name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}:
            assert value.startswith(("#", "data:")), (tag, name, value)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert "url(http" not in whole[3]
    assert "@import" not in whole[3]
    assert page.tags.count("script") == 1


def test_the_only_script_that_may_run_is_the_one_that_is_there(whole):
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', whole[3])
    (script,) = re.findall(r"<script>(.*?)</script>", whole[3], flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert not [name for _, name, _ in Read(whole[3]).attributes if name.startswith("on")]


def test_what_is_opened_is_closed_and_ids_are_unique(whole):
    page = Read(whole[3])
    assert page.crossed == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert len(page.ids) > 100, "the figures' own are among them"


def test_every_reference_inside_a_figure_is_to_something_of_it(whole):
    ids = set(Read(whole[3]).ids)
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', whole[3]))
    assert wanted
    assert wanted <= ids


def test_every_arm_has_its_row_its_configuration_and_its_privacy(whole):
    _, study, results, text = whole
    for arm in results.arms:
        assert text.count(f'<th scope="row">{html.escape(arm.name)}</th>') >= 2
        assert f"<pre>{html.escape(arm.config, quote=False)}</pre>" in unquoted(text)
        assert f"<dt>{html.escape(arm.name)}</dt><dd>none: the weights may tell" in text
        for run in arm.runs:
            assert run in text
    assert "Each run is accounted by itself" in text
    assert html.escape(study.question, quote=False) in text


def unquoted(text):
    return text.replace("&#39;", "'").replace("&#34;", '"')


def test_the_methods_say_how_many_of_what(whole):
    text = Read(whole[3]).text
    assert "Each arm was trained with 2 seeds (4, 9) on 20 participants of 3 training sites" in text
    assert "2 rounds of 2 local epochs, batches of 4 participants, adam" in text
    assert "Values are means over seeds with a 95 % Student's t interval" in text
    assert "left out in turn" not in text


def test_heads_sort_and_cells_carry_the_value_they_sort_by(whole):
    text = whole[3]
    tables = re.findall(r"<table class=\"sorts.*?</table>", text, flags=re.DOTALL)
    assert len(tables) > 6
    results = whole[2]
    for row in re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", tables[0], flags=re.DOTALL):
        name = html.unescape(re.search(r'scope="row">(.*?)</th>', row).group(1))
        (arm,) = [arm for arm in results.arms if arm.name == name]
        values = [float(value) for value in re.findall(r'data-value="([^"]*)"', row)]
        estimates = arm.on["representation"].estimates
        shown = [100 * estimates["site_accuracy"].mean, estimates["mae_external"].mean]
        assert values == pytest.approx(shown, rel=1e-5)
    for table in tables:
        heads = re.search(r"<thead>.*?</thead>", table, flags=re.DOTALL).group()
        rows = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", table, flags=re.DOTALL)
        assert all(row.count("<td") == heads.count("<th ") - 1 for row in rows)
    script = re.search(r"<script>(.*?)</script>", text, flags=re.DOTALL).group(1)
    assert "table.sorts thead th" in script


def test_a_complete_study_does_not_say_that_it_is_not(whole):
    assert whole[2].complete
    assert "Not complete" not in whole[3]


def test_every_figure_of_the_page_lies_beside_it_as_a_pdf_of_the_same_bytes(whole, tmp_path):
    folder, study, _, text = whole
    drawn = {f.name: f.read_bytes() for f in (study.output / "figures").iterdir()}
    assert all(content.startswith(b"%PDF") for content in drawn.values())
    names = {
        "site-against-age",
        "arms-mae_external",
        "arms-site_accuracy",
        "local-epochs-mae_external",
        "grid-mae_external",
        "cells-sex",
        "cells-age",
        "cells-field",
    }
    assert {f"{name}.pdf" for name in names} <= set(drawn)
    maps = sum(arm.train != "local" for arm in concrete_arms(study))
    assert text.count("<figure>") == len(drawn) + maps
    again = study.model_copy(update={"output": tmp_path / "again"})
    _, page = written(folder, again)
    redrawn = {f.name: f.read_bytes() for f in (tmp_path / "again" / "figures").iterdir()}
    assert redrawn == drawn
    assert page.replace(str(tmp_path / "again"), str(study.output)) == text


def test_an_incomplete_study_says_so_and_why(tmp_path):
    study = small_study(tmp_path)
    (first, *_), *_ = found_of(study, tmp_path, {})
    keep_failure(first.entry, TrialFailure("no such <folder>"))
    broken = {(first.arm.name, first.seed)}
    results, text = written(tmp_path, study, missing=broken)
    assert not results.complete
    assert "Not complete: 3 of 4 runs are there; together (1 of 2)." in Read(text).text
    assert "Seed 4: no such <folder>" in Read(text).text
    assert "no such &lt;folder&gt;" in text


def test_a_study_of_which_nothing_is_there_has_a_page(tmp_path):
    study = small_study(tmp_path)
    _, text = written(tmp_path, study, missing=everything(study))
    assert "No run is there yet." in text
    assert "Not complete: 0 of 4 runs are there. The same" in text
    assert Read(text).crossed == []
    assert not list((study.output).glob("figures/*"))


def test_of_a_cross_validation_the_methods_say_how_sites_were_left_out(tmp_path):
    settings = {"folds": 3, "internal_fraction": 0.2}
    study = small_study(tmp_path, cross_validation=settings, interval="bootstrap", seeds=[4])
    _, text = written(tmp_path, study)
    told = Read(text).text
    assert "Sites were left out in turn (3 groups, drawn anew for every seed)" in told
    assert "with a 95 % percentile bootstrap interval" in told
    assert "trained with 1 seed (4)" in told


@pytest.mark.usefixtures("rendered")
def test_no_name_or_label_does_harm(tmp_path):
    """Slow (about 3 s): names of an attacker in every place of the page."""
    name = EVIL.replace("/", "")
    arms = {
        name: {"train": "pooled"},
        "<b>over": {
            "train": "simulate",
            "over": {'"><script>alert(1)<script>': {"$x$": {}, "<i>": {}, "'\"": {}}},
        },
        "_hidden": {"train": "simulate"},
    }
    study = small_study(tmp_path, arms=arms, question=EVIL, compare_to=name)
    _, text = written(tmp_path, study, map_sites=(EVIL, "_x"), labels=(EVIL, "_x", "$1$"))
    page = Read(text)
    assert page.crossed == []
    assert page.open == []
    assert page.tags.count("script") == 1
    assert not {"img", "b", "i"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    known = {"svg", "g", "path", "use", "text", "tspan", "defs", "clippath", "rect", "image"}
    inside = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert inside
    for figure in inside:
        assert set(Read(figure).tags) <= known
    told = page.text
    assert EVIL in told
    assert "{{ 7 }}" in told, "no template reads it again"
    assert "$x$" in told, "not mathematics"
    assert (study.output / "study.json").read_text().count("onerror") > 1


@pytest.mark.usefixtures("rendered")
def test_what_a_figure_says_is_text_for_who_cannot_see_it():
    figure = svg("one", (1, 1), lambda figure: figure.add_subplot(), says='a "b" <c> & d')
    assert ("svg", "aria-label", 'a "b" <c> & d') in Read(figure).attributes


@pytest.mark.usefixtures("rendered")
def test_names_that_differ_in_signs_alone_have_a_figure_each(tmp_path):
    """An arm called `a+` and another called `a-` would give one file name."""
    axes = {"local.epochs": [1, 2], "noise": {"some": {}, "much": {}}}
    arms = {name: {"train": "simulate", "over": axes} for name in ("a+", "a-")}
    study = small_study(tmp_path, arms=arms, compare_to=None, metrics=["mae_external"])
    _, text = written(tmp_path, study)
    files = {file.name for file in (study.output / "figures").iterdir()}
    assert {"a-mae_external.pdf", "a-2-mae_external.pdf"} <= files
    page = Read(text)
    assert "a+: MAE, unseen sites over epochs and noise" in page.text
    assert "a-: MAE, unseen sites over epochs and noise" in page.text
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.usefixtures("rendered")
def test_families_with_other_levels_of_one_axis_share_a_figure(tmp_path):
    """The second family has a level that the first has not, and lacks one that it has."""
    levels = [{"low": {}, "high": {}}, {"high": {}, "highest": {}}, {"1": {}, "3": {}}]
    arms = {
        f"family {number}": {"train": "simulate", "over": {"noise": of}}
        for number, of in enumerate(levels)
    }
    study = small_study(tmp_path, arms=arms, compare_to=None, metrics=["mae_external"])
    _, text = written(tmp_path, study)
    (figure,) = re.findall(
        r'<svg[^>]*aria-label="MAE, unseen sites over noise.*?</svg>', text, flags=re.DOTALL
    )
    shown = Read(figure).texts
    assert [one for one in shown if one in {"low", "high", "highest", "1", "3"}] == [
        "low",
        "high",
        "highest",
        "1",
        "3",
    ]
    assert {f"family {number}" for number in range(3)} <= set(shown)


def test_cells_of_the_internal_test_alone_draw_no_figure_of_unseen_sites(tmp_path):
    """Where unseen sites are too small to tell, a cell of the others is no reason to draw."""
    study = small_study(tmp_path, seeds=[4], arms={"together": {"train": "pooled"}})
    seen = tuple(cell.model_copy(update={"split": "internal"}) for cell in cells(2.0))
    few = tuple(
        cell.model_copy(update={"participants": None, "mae": None, "mean_error": None})
        for cell in cells(2.0)
    )
    (arm,) = concrete_arms(study)
    write_study(study, [(trial(tmp_path, arm, 4), measured(2.0, "pooled", cells=seen + few))])
    assert not list((study.output / "figures").glob("cells-*"))
    told = Read((study.output / "study.html").read_text()).text
    assert "far (few)" in told


@pytest.mark.usefixtures("rendered")
def test_a_label_with_an_underscore_first_is_in_the_legend(tmp_path):
    arms = {
        name: {"train": "simulate", "over": {"noise": {"1": {}, "2": {}}}} for name in ("_a", "b")
    }
    study = small_study(tmp_path, arms=arms, compare_to=None, metrics=["mae_external"])
    _, text = written(tmp_path, study)
    (figure,) = re.findall(
        r'<svg[^>]*aria-label="MAE, unseen sites over noise.*?</svg>', text, flags=re.DOTALL
    )
    assert {"_a", "b"} <= set(Read(figure).texts)
