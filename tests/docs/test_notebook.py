"""The tutorial's notebook runs from its first cell to its last."""

from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.process

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "l_exp_in_your_loop.ipynb"


def test_the_notebook_runs_and_the_embedding_forgets_the_site(tmp_path):
    """A kernel starts, imports torch and trains for some seconds: about 20 s on two busy cores."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    of = {
        line.split(" ", 1)[0]: float(line.split("'site accuracy': ")[1].split(",")[0])
        for line in printed.splitlines()
        if "site accuracy" in line
    }
    assert of["embedding"] < of["measures"]


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
