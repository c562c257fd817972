"""What keeps a site from its server is written when it changes, and read by another process."""

from fedcl.deployment.connection import Connection


def test_nothing_is_known_before_the_first_call(tmp_path):
    assert Connection(tmp_path).read() is None


def test_a_problem_is_news_once_and_its_time_is_that_of_the_first(tmp_path):
    guard = Connection(tmp_path)
    assert guard.note("no way")
    first = Connection(tmp_path).read()
    assert not guard.note("no way")
    assert Connection(tmp_path).read() == first
    assert first[0] == "no way"


def test_an_answer_ends_the_problem(tmp_path):
    guard = Connection(tmp_path)
    guard.note("no way")
    assert guard.note(None)
    assert Connection(tmp_path).read()[0] is None


def test_what_an_earlier_process_wrote_can_be_forgotten(tmp_path):
    Connection(tmp_path).note("no way")
    Connection(tmp_path).forget()
    assert Connection(tmp_path).read() is None
