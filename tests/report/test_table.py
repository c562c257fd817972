"""The printed tables hold the numbers of the results, on a terminal of 80 columns."""

from io import StringIO

import pytest
from rich.console import Console

from fedcl.report.table import comparison_table, result_table
from fedcl.run_folder.results_file import EvaluationResults
from tests.report.made import erased, measured, results


def printed(table, width=80):
    console = Console(file=StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("kind", ["simulate", "pooled", "local"])
def test_a_result_fits_the_terminal_with_its_intervals(kind):
    text = printed(result_table(results(kind)))
    assert "3.43 [2.74, 3.77]" in text
    assert "7.52" in text
    assert "…" not in text
    assert "None" not in text


def test_an_erased_run_tells_both_figures_and_what_was_erased():
    text = " ".join(printed(result_table(erased())).split())
    assert "before the erasure" in text
    assert "2.71 [2.17, 2.98]" in text
    assert "of the embedding 2 of 6 directions, the 1 leading ones of the age curve kept" in text
    assert "erasure" not in printed(result_table(results()))


def test_what_is_undefined_is_a_dash():
    text = printed(result_table(results(external=False)))
    (row,) = [line for line in text.splitlines() if "unseen" in line]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["-", "-", "-"]


def collapsed(run):
    worst = {"spread": 0.0004, "collapsed_rounds": 3}
    return run.model_copy(update={"training": run.training.model_copy(update=worst)})


def test_a_collapsed_run_is_told_under_its_numbers():
    text = " ".join(printed(result_table(collapsed(results())), width=400).split())
    assert "has collapsed: during the last 3 rounds" in text
    assert "0.0004" in text
    assert "collapsed" not in printed(result_table(results()))
    together = [results(), collapsed(results(name="flat"))]
    assert "Collapsed at its end: flat" in printed(comparison_table(together), width=200)


def test_runs_stand_side_by_side_above_what_guessing_gives():
    text = printed(comparison_table([results("local"), results("simulate"), results("pooled")]))
    kinds = [text.index(f"({kind})") for kind in ("local", "simulate", "pooled")]
    assert kinds == sorted(kinds)
    (guess,) = [line for line in text.splitlines() if "guessing" in line]
    assert [cell.strip() for cell in guess.split("│")[3:-1]] == ["6.81", "7.52", "33.3%", "5.41"]
    assert "same data" not in text


def test_a_diverged_run_beside_the_others_wraps_no_name():
    run = results()
    poor = run.evaluation.representation.model_copy(update={"mae_external": measured(123_456.7)})
    run = run.model_copy(
        update={"evaluation": EvaluationResults(representation=poor, embedding=poor)}
    )
    text = printed(comparison_table([results(), run]))
    assert text.count("tiny (simulate) ") == 2
    assert "123456.70" in text


def test_runs_on_different_data_are_not_compared_in_silence():
    other = results("pooled")
    other = other.model_copy(update={"run": other.run.model_copy(update={"data_digest": "other"})})
    assert "Not all runs saw the same data" in printed(comparison_table([results(), other]))
    assert "guessing" not in printed(comparison_table([]))
