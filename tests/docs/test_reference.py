"""The pages that are written from code are up to date and complete."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def keys_of(tree: object, path: str = "") -> set[str]:
    """Return every key of a YAML tree, dotted; an entry of a list is `[]`."""
    if isinstance(tree, dict):
        named = {f"{path}.{key}" if path else str(key): value for key, value in tree.items()}
        return set(named) | {key for at, value in named.items() for key in keys_of(value, at)}
    if isinstance(tree, list):
        return {key for value in tree for key in keys_of(value, f"{path}[]")}
    return set()


def test_the_generated_pages_are_up_to_date():
    """`make docs`, or python docs/reference/generate.py, writes them."""
    done = subprocess.run([sys.executable, REFERENCE / "generate.py", "--check"], cwd=ROOT)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["demo", "freesurfer_table", "nifti_scanners", "openbhb"])
def test_the_reference_names_every_key_of_a_shipped_experiment(name):
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    tree = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    keys = keys_of(tree)
    assert "federation.rule.kind" in keys
    assert not {key for key in keys if f"`{key}`" not in page}


def test_the_reference_names_every_command():
    page = (REFERENCE / "command_line.md").read_text(encoding="utf-8")
    for command in ("simulate", "study", "kit approve", "receipts verify", "ledger show", "join"):
        assert f"# fedcl {command}\n" in page


def test_every_key_of_the_reference_says_what_it_means():
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if row.endswith("|  |")] == []
