"""The event files of a run: everything that the log holds, once, and nobody's id."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from fedcl.errors import ConfigError, RunError
from fedcl.experiment.run import evaluate_again, run_experiment
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import read_results
from fedcl.run_folder.rounds_file import RoundLine, SiteLine, write_rounds
from fedcl.tracking import follow as tracking
from fedcl.tracking import tensorboard
from fedcl.tracking.follow import Tracking
from fedcl.tracking.scalars import read_lines, round_scalars
from tests.builders import SIZES, config_of, table_tree, with_values, write_table
from tests.progress import Told
from tests.report.made import results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return table_tree(tmp_path)


def train(tree, kind="simulate", **options):
    options = {"resume": False, "restart": False, "page": False, **options}
    return run_experiment(kind, config_of(tree), **options)


def points(path):
    """Every point of the event files in a run folder: {(name, round): [(value, when), ...]}."""
    found = {}
    for file in sorted((path / "tensorboard").iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                where = (value.tag, event.step)
                found.setdefault(where, []).append((value.tensor.float_val[0], event.wall_time))
    return found


def values(path):
    """Points that are there once, by name and round."""
    found = points(path)
    assert {where: len(those) for where, those in found.items() if len(those) > 1} == {}
    return {where: those[0][0] for where, those in found.items()}


def times_of_losses(path):
    """When each round ended, by round."""
    found = points(path).items()
    return {number: those[0][1] for (name, number), those in found if name == "loss"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["simulate", "pooled"])
def test_the_event_files_hold_the_log_and_the_results(tree, kind):
    found, path = train(tree, kind)
    written = values(path)
    for record in RunFolder(path).read_log():
        number, sites = record.round, record.sites.values()
        assert written["loss", number] == pytest.approx(record.loss, rel=1e-6)
        assert written["seconds", number] == pytest.approx(record.seconds, rel=1e-6)
        assert written["received_mb", number] == pytest.approx(record.bytes / 1e6, rel=1e-6)
        assert written["valid_sites", number] == len(sites)
        mean = sum(site.terms["loss"] for site in sites) / len(sites)
        assert written["terms/loss", number] == pytest.approx(mean, rel=1e-6)
    for point in found.curve:
        assert written["mae/internal", point.round] == pytest.approx(point.mae_internal)
        assert written["mae/external", point.round] == pytest.approx(point.mae_external)
    measured = found.evaluation.representation.mae_external.value
    assert written["final/representation/mae_external", 2] == pytest.approx(measured)
    assert written["final/embedding/median_internal", 2] > 0
    assert {number for _, number in written} == {1, 2}


@pytest.mark.slow
def test_sites_that_train_alone_are_drawn_together(tree):
    _, path = train(tree, "local")
    written = values(path)
    logs = [RunFolder(folder).read_log() for folder in (path / "sites").iterdir()]
    assert len(logs) == 3
    total = count = 0
    for log in logs:
        (entry,) = log[1].sites.values()
        total += entry.terms["loss"] * entry.counts["loss"]
        count += entry.counts["loss"]
    assert written["loss", 2] == pytest.approx(total / count, rel=1e-6)
    assert written["valid_sites", 2] == 3
    assert written["received_mb", 2] == 0
    assert ("final/representation/mae_internal", 2) in written


@pytest.mark.slow
def test_rounds_are_written_while_the_run_goes_on(tree, monkeypatch):
    """At every reply the files hold the rounds before the one that is under way."""
    seen = []

    def simulate_and_look(config, *, on_reply, **options):
        def look(number, waiting):
            on_reply(number, waiting)
            path = config.output.path
            if (path / "tensorboard").exists():
                seen.append((int(number), {n for name, n in values(path) if name == "loss"}))

        simulate_federation(config, on_reply=look, **options)

    from fedcl.experiment.run import simulate_federation

    monkeypatch.setattr("fedcl.experiment.run.simulate_federation", simulate_and_look)
    train(with_values(tree, federation__rounds=3))
    assert [rounds for number, rounds in seen if number == 3] == [{1, 2}] * 3
    assert [rounds for number, rounds in seen if number == 2] == [{1}] * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["simulate", "pooled", "local"])
def test_a_resumed_run_has_every_round_once(tree, kind):
    train(tree, kind)
    _, path = train(with_values(tree, federation__rounds=4), kind, resume=True)
    assert sorted(number for name, number in values(path) if name == "loss") == [1, 2, 3, 4]
    assert ("final/representation/mae_internal", 2) not in values(path)


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_twice(tree):
    """A torn event file, and one of a round that the log does not hold."""
    _, path = train(tree)
    (file,) = (path / "tensorboard").iterdir()
    torn = file.read_bytes()[:-7]
    file.write_bytes(torn)
    (file.parent / "events.out.tfevents.1.other.2.0").write_bytes(torn)
    folder = RunFolder(path)
    log = folder.log.read_text().splitlines(keepends=True)
    folder.log.write_text(log[0] + log[1][:20])
    train(tree, resume=True)
    written = values(path)
    assert sorted(number for name, number in written if name == "loss") == [1, 2]
    assert ("final/embedding/mae_external", 2) in written


@pytest.mark.slow
def test_evaluating_again_writes_the_same_points_once(tree):
    _, path = train(tree)
    before = values(path)
    evaluate_again(path)
    assert values(path) == before


@pytest.mark.slow
def test_the_time_of_a_round_is_when_it_ended(tree):
    _, path = train(tree)
    _, second = RunFolder(path).read_log()
    ended = {
        number: found[0][1] for (name, number), found in points(path).items() if name == "loss"
    }
    evaluate_again(path)
    again = {
        number: found[0][1] for (name, number), found in points(path).items() if name == "loss"
    }
    assert again[2] - again[1] == pytest.approx(second.seconds, abs=1e-6)
    assert again[2] == pytest.approx(RunFolder(path).log.stat().st_mtime, abs=1e-3)
    assert ended[1] <= ended[2] <= again[2] + 1e-3


@pytest.mark.slow
def test_no_participant_and_no_site_is_named(tree):
    _, path = train(tree)
    held = b"".join(file.read_bytes() for file in (path / "tensorboard").iterdir()).decode("latin1")
    assert "final/representation" in held
    assert not re.search(r"(north|south|far)\d*", held)
    for site, size in SIZES.items():
        assert all(f"{site}{index:02d}" not in held for index in range(size))


@pytest.mark.slow
def test_it_can_be_switched_off(tree):
    _, path = train(with_values(tree, output={**tree["output"], "tensorboard": False}))
    assert not (path / "tensorboard").exists()
    assert read_results(path / "results.json").run.name == "tiny"


@pytest.mark.process
def test_writing_says_nothing_and_warns_of_nothing(tmp_path):
    program = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from pathlib import Path\n"
        "from fedcl.tracking.tensorboard import Board\n"
        "board = Board(Path(sys.argv[1])); nan = float('nan')\n"
        "board.write({'loss': 1.5, 'terms/a': nan}, step=1, wall_time=5.0)\n"
        "board.close(finished=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.process
def test_neither_the_command_line_nor_a_site_imports_it():
    """TensorBoard takes time to import, and a hospital has no use for it."""
    program = (
        "import sys, fedcl.sites.app, fedcl.experiment.run, fedcl.tracking.tensorboard\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorboard', 'mlflow')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def record(number=1, **changes):
    def entry(loss, rejected=None):
        return SiteLine(terms={"loss": loss}, counts={"loss": 5}, rejected=rejected)

    sites = {"north": entry(2.0), "south": entry(5.0), "12": entry(99.0, "no answer in time")}
    both = {"round": number, "seconds": 3.0, "loss": 3.0, "bytes": 2_500_000, "sites": sites}
    return RoundLine(**{**both, **changes})


def test_terms_are_means_over_valid_sites():
    found = round_scalars(record())
    assert found == {
        "loss": 3.0,
        "terms/loss": 3.5,
        "seconds": 3.0,
        "received_mb": 2.5,
        "valid_sites": 2,
    }


def test_what_a_secure_sum_or_a_private_run_keeps_is_not_drawn():
    silent = SiteLine()
    private = round_scalars(record(loss=None, sites={"north": silent}))
    assert private.keys() == {"seconds", "received_mb", "valid_sites"}
    summed = round_scalars(record(sites={"north": silent}, terms={"fairkl": 0.5}))
    assert summed["terms/fairkl"] == 0.5


class Refusing:
    """A logger that takes nothing until it is told to."""

    def __init__(self):
        self.taken, self.willing = [], False

    def write(self, scalars, *, step, wall_time):
        if not self.willing:
            raise RunError("the store is away")
        self.taken.append(step)

    def close(self, *, finished):
        pass


def write_log(folder, count):
    folder.path.mkdir(exist_ok=True)
    write_rounds(folder.log, map(record, range(1, count + 1)))


def test_what_a_logger_missed_is_written_later_and_told_once(tmp_path):
    folder, logger, told = RunFolder(tmp_path / "run"), Refusing(), Told()
    following = Tracking("simulate", folder, [logger], told)
    following.update()  # no log yet
    for count in (1, 2):
        write_log(folder, count)
        following.update()
    assert told.lines == [
        "the store is away. The training goes on; it is tried again after each round."
    ]
    logger.willing = True
    write_log(folder, 3)
    following.update()
    following.update()
    assert logger.taken == [1, 2, 3]


def test_the_measures_of_a_run_that_was_stopped_stand_at_its_last_round(tmp_path):
    folder, logger = RunFolder(tmp_path / "run"), Refusing()
    logger.willing = True
    write_log(folder, 1)
    found = results()
    assert found.training.rounds == 2
    following = Tracking("simulate", folder, [logger])
    following.finish(found.model_copy(update={"curve": ()}))
    assert logger.taken == [1, 1]


def test_what_is_missing_at_the_end_is_an_error(tmp_path):
    folder = RunFolder(tmp_path / "run")
    write_log(folder, 2)
    following = Tracking("simulate", folder, [Refusing()])
    with pytest.raises(RunError, match="the store is away"):
        following.finish(results())
    assert not following.finished


def test_loggers_are_closed_whatever_happens(tree, monkeypatch):
    closed = []
    monkeypatch.setattr(
        tensorboard.Board, "close", lambda _, *, finished: closed.append(finished), raising=True
    )
    folder = RunFolder(Path(tree["output"]["path"]))
    folder.path.mkdir(parents=True)
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.tracking("simulate", config_of(tree), folder),
    ):
        raise KeyboardInterrupt
    assert closed == [False]


def test_a_run_without_rounds_has_no_records(tmp_path):
    for alone in (False, True):
        assert read_lines(RunFolder(tmp_path / "none"), alone=alone)[0] == []


@pytest.mark.parametrize("uri", ["http://me:secret@host/a", "postgresql://me@host/base"])
def test_credentials_in_the_uri_are_refused(tree, uri):
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        config_of(with_values(tree, output={**tree["output"], "mlflow": uri}))
