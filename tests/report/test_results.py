"""results.json: strict both ways, documented key by key, and free of participants."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from fedcl.config.section import Section
from fedcl.errors import RunError
from fedcl.evaluation.intervals import Interval
from fedcl.evaluation.openbhb_challenge import Challenge, SiteError
from fedcl.experiment.run import run_experiment
from fedcl.run_folder.results_file import Results, measures, read_results, write_results
from tests.builders import config_of, table_tree, write_table
from tests.report.made import results

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "results_schema.md"


def sections(model: type[Section]) -> set[type[Section]]:
    """The model and every model inside it."""
    found = {model}
    for field in model.model_fields.values():
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= sections(kind)
    return found


@pytest.mark.parametrize("kind", ["simulate", "pooled", "local"])
def test_what_is_written_is_what_is_read(tmp_path, kind):
    written = results(kind)
    write_results(tmp_path / "results.json", written)
    assert read_results(tmp_path / "results.json") == written
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_failed_write_leaves_the_results_before(tmp_path, monkeypatch):
    file = tmp_path / "results.json"
    write_results(file, results(name="before"))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_results(file, results(name="after"))
    assert read_results(file).run.name == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["results.json"]


def test_every_key_is_documented():
    documented = set(re.findall(r"`([A-Za-z_.]+)`", SCHEMA.read_text(encoding="utf-8")))
    documented |= {"value", "low", "high"}  # inside the shape {"value", "low", "high"}
    keys = {key for section in sections(Results) for key in section.model_fields}
    assert keys - documented == set()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "damaged or of another version"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version"),
        (lambda text: text.replace('"seconds": 75.0', '"surprise": 75.0'), r"run\.seconds"),
        (lambda text: text.replace('"parameters": 1234', '"parameters": "many"'), "parameters"),
    ],
)
def test_a_damaged_file_is_told_with_its_place(tmp_path, damage, told):
    file = tmp_path / "results.json"
    write_results(file, results())
    file.write_text(damage(file.read_text()))
    with pytest.raises(RunError, match=f"results.json: .*{told}"):
        read_results(file)


def test_what_is_no_text_is_told(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.json", ""):
        with pytest.raises(RunError, match="cannot be read"):
            read_results(tmp_path / name)


def test_a_challenge_keeps_its_numbers_in_the_results():
    interval = Interval(4.0, 3.5, 4.5)
    found = Challenge(
        mae_internal=None,
        mae_external=interval,
        site_balanced_accuracy=Interval(0.25, None, None),
        site_chance=0.1,
        site_from_age=0.2,
        challenge_score=interval,
        median_internal=None,
        median_external=9.0,
        per_site=(SiteError("far", "external", 4, 4.0, -1.0),),
        predictions={},
    )
    shown = measures(found, dim=6)
    assert shown.mae_internal is None
    assert shown.mae_external is not None
    assert (shown.mae_external.value, shown.mae_external.low) == (4.0, 3.5)
    assert shown.per_site[0].site == "far"
    assert shown.guessed_score == pytest.approx(9.0 * 0.1**0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_no_file_of_a_run_tells_a_participant_id(tmp_path):
    """Slow (about 3 s): a real run, so that nothing is overlooked."""
    write_table(tmp_path / "data", {"north": 7, "south": 8, "west": 13})
    config = config_of(table_tree(tmp_path))
    _, path = run_experiment("pooled", config, resume=False, restart=False)
    for name in ("results.json", "figures.json", "report.html", "rounds.jsonl"):
        text = (path / name).read_text(encoding="utf-8")
        assert not re.search(r"\b(north|south|west)\d\d\b|\bfar\d\b", text), name
    assert json.loads((path / "results.json").read_text())["cohort"]["participants"]["train"] == 22
