"""Progress as a person sees it: bars on a terminal, whole lines anywhere."""

import io

import pytest
from rich.console import Console

from fedcl.cli.progress import Lines, steps
from fedcl.compute.progress import SILENT


def shown(terminal, use):
    """What a console prints while `use` tells it of a job."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=60, color_system=None)
    with steps(console) as bars:
        use(bars)
    return file.getvalue()


def test_a_job_is_a_bar_on_a_terminal_and_nothing_in_a_log():
    def use(bars):
        bars.step("Rounds", 1, 3)
        bars.step("Rounds", 3, 3)

    assert "Rounds" in shown(True, use)
    assert "3/3" in shown(True, use)
    assert shown(False, use) == ""


def test_a_line_is_printed_as_it_is_however_long():
    line = "[12]: " + "too few participants " * 9
    assert shown(False, lambda bars: bars.say(line)) == line + "\n"
    file = io.StringIO()
    Lines(Console(file=file, width=20)).say(line)
    assert file.getvalue() == line + "\n"


def test_who_asked_to_stop_is_heard_at_the_next_step():
    def stop():
        raise KeyboardInterrupt

    with steps(Console(file=io.StringIO()), check=stop) as bars:
        bars.say("still there")
        with pytest.raises(KeyboardInterrupt):
            bars.step("Rounds", 1, 3)


def test_by_default_nothing_is_printed(capsys):
    SILENT.step("Rounds", 1, 3)
    SILENT.say("hello")
    assert capsys.readouterr() == ("", "")
