"""What was paid is never forgotten: not by a kill, a cut file, or two processes at once."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedcl.errors import PrivacyError
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums
from fedcl.privacy.ledger import Charge, Ledger, ledgers

COST = NoisySums(2.0, 0.25, 10)
PLENTY = {"delta": 1e-5, "budget": 100.0}


def charge_of(number, cost=COST):
    return Charge("training", "study", number, cost)


@pytest.fixture
def ledger(tmp_path):
    return Ledger.of(tmp_path / "ledgers", "south")


def test_charges_add_up_over_processes_and_runs(ledger):
    assert ledger.charges() == ()
    for number in (1, 2, 3):
        Ledger(ledger.path).charge(charge_of(number), **PLENTY)
    assert [c.round for c in ledger.charges()] == [1, 2, 3]
    assert ledger.epsilon(delta=1e-5) == epsilon_of_sums([NoisySums(2.0, 0.25, 30)], delta=1e-5)


def test_over_budget_is_refused_and_not_written(ledger):
    limit = epsilon_of_sums([COST, COST], delta=1e-5)
    for number in (1, 2):
        ledger.charge(charge_of(number), delta=1e-5, budget=limit)
    before = ledger.path.read_bytes()
    with pytest.raises(PrivacyError, match=r"round 3 would cost epsilon .* over the budget"):
        ledger.charge(charge_of(3), delta=1e-5, budget=limit)
    assert ledger.path.read_bytes() == before
    assert len(ledger.charges()) == 2


def altered(text: str) -> str:
    return text.replace('"noise_multiplier": 2.0', '"noise_multiplier": 9.0', 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "3 charges were made and 0 are there"),
        (lambda p: p.write_text(""), "3 charges were made and 0 are there"),
        (lambda p: p.write_bytes(p.read_bytes()[:-5]), "3 charges were made and 2 are there"),
        (lambda p: p.write_text("".join(p.read_text().splitlines(True)[1:])), "2 are there"),
        (lambda p: p.write_text(altered(p.read_text())), "does not follow"),
        (lambda p: p.write_text("nonsense\n" + p.read_text()), "line 1: cannot be read"),
        (lambda p: p.with_suffix(".head").unlink(), "altered"),
        (lambda p: p.with_suffix(".head").write_text("x"), "damaged"),
        (lambda p: p.with_suffix(".head").write_text("1 " + "0" * 64), "altered"),
    ],
    ids=["gone", "emptied", "cut", "first", "noise", "nonsense", "mark", "head", "count"],
)
def test_a_damaged_ledger_is_refused_and_never_taken_for_zero(ledger, damage, words):
    for number in (1, 2, 3):
        ledger.charge(charge_of(number), **PLENTY)
    damage(ledger.path)
    for use in (ledger.charges, lambda: ledger.charge(charge_of(4), **PLENTY)):
        with pytest.raises(PrivacyError, match=words):
            use()


def test_the_last_line_altered_is_noticed(ledger):
    ledger.charge(charge_of(1), **PLENTY)
    ledger.path.write_text(altered(ledger.path.read_text()))
    with pytest.raises(PrivacyError, match="altered"):
        ledger.charges()


def test_what_a_kill_left_half_written_is_mended(ledger):
    ledger.charge(charge_of(1), **PLENTY)
    whole, mark = ledger.path.read_bytes(), ledger.path.with_suffix(".head").read_bytes()
    ledger.path.write_bytes(whole + whole[:40])  # killed while writing: nothing was released
    assert len(ledger.charges()) == 1
    assert ledger.path.read_bytes() == whole
    ledger.charge(charge_of(2), **PLENTY)
    ledger.path.with_suffix(".head").write_bytes(mark)  # killed before the mark: it counts
    assert len(ledger.charges()) == 2
    ledger.charge(charge_of(3), **PLENTY)
    assert [c.round for c in ledger.charges()] == [1, 2, 3]


def test_two_at_once_do_not_lose_a_line(ledger):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: Ledger(ledger.path).charge(charge_of(n), **PLENTY), range(12)))
    assert sorted(c.round for c in ledger.charges()) == list(range(12))


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.ledger import Charge, Ledger

ledger, released = Ledger(Path(sys.argv[1])), Path(sys.argv[2])

def pay(number):
    cost = NoisySums(2.0, 0.25, 10)
    ledger.charge(Charge("training", "study", number, cost), delta=1e-5, budget=1e9)

def work():
    for number in range(10_000):
        pay(number)
        with released.open("a") as file:
            file.write("x\\n")

def released_so_far():
    return len(released.read_text().splitlines()) if released.exists() else 0

pay(0)  # everything is imported now
random.seed(4)
for kill in range(1, 21):
    site = os.fork()
    if site == 0:
        work()
    wanted = released_so_far() + random.randint(1, 3)
    while released_so_far() < wanted:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.03))
    os.kill(site, signal.SIGKILL)
    os.waitpid(site, 0)
    print(kill, released_so_far(), len(ledger.charges()), flush=True)
"""


@pytest.mark.process
def test_a_site_killed_at_any_point_has_paid_for_all_it_released(ledger, tmp_path):
    """Slow (about 4 s): twenty processes are killed between charge and release, or within."""
    command = [sys.executable, "-c", KILLS, str(ledger.path), str(tmp_path / "released")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = [[int(number) for number in line.split()] for line in said.splitlines()]
    assert len(counts) == 20
    for kill, let_go, paid in counts:
        # One charge came first, and each kill may have paid for a release it did not make.
        assert let_go <= paid <= let_go + kill + 1
    assert let_go >= 20


def test_a_folder_lists_its_ledgers_the_removed_one_too(tmp_path):
    with pytest.raises(PrivacyError, match="no ledger in it"):
        ledgers(tmp_path)
    for site in ("south", "a/b"):
        Ledger.of(tmp_path, site).charge(charge_of(1), **PLENTY)
    assert len(ledgers(tmp_path)) == 2
    assert all(path.parent == tmp_path for path in tmp_path.glob("**/*.jsonl"))
    Ledger.of(tmp_path, "south").path.unlink()
    assert len(ledgers(tmp_path)) == 2
    with pytest.raises(PrivacyError, match="1 charges were made and 0 are there"):
        Ledger.of(tmp_path, "south").charges()


def test_lines_hold_no_more_than_the_mechanism(ledger):
    ledger.charge(charge_of(1), **PLENTY)
    line = json.loads(ledger.path.read_text())
    assert set(line) == {"before", "what", "run", "round", "cost"}
    assert set(line["cost"]) == {"noise_multiplier", "sampling_rate", "steps"}
