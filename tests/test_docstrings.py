"""Docstrings are sentences that stand alone, and what they say of arguments is of arguments."""

import ast
import itertools
import re
import runpy
from collections.abc import Iterator

from tests.test_house_rules import ROOT, TREES

# By its path: another package called benchmarks may be installed.
docstring_entries = runpy.run_path(str(ROOT / "benchmarks" / "house.py"))["docstring_entries"]
ENTRIES = [(path, entry) for path, tree in TREES.items() for entry in docstring_entries(tree)]


def test_every_module_says_what_it_is_for():
    assert [path for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_entry_says_what_the_thing_is():
    assert [(path, entry) for path, entry in ENTRIES if entry.startswith("Of ")] == []
    assert [(path, entry) for path, entry in ENTRIES if len(entry.split()) <= 3] == []


def test_no_docstring_is_the_end_of_another_sentence():
    """Those under a constant or an attribute count too."""
    texts = [
        (path, node.value.value)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert [(path, text) for path, text in texts if re.match(r"Of |None ", text)] == []
    assert [(path, text) for path, text in texts if re.search(r"\b[Aa]s of `", text)] == []


def test_every_documented_argument_is_one():
    for path, tree in TREES.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                surplus = set(documented_arguments(function)) - set(arguments(function))
                assert not surplus, f"{path}: {function.name}: {surplus}"


def arguments(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the names of a function's arguments."""
    of = function.args
    for argument in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg):
        if argument is not None:
            yield argument.arg


def documented_arguments(function: ast.FunctionDef) -> list[str]:
    """Return the names in the "Args:" section of a function's docstring."""
    _, _, section = (ast.get_docstring(function) or "").partition("\nArgs:\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith(" "), section.split("\n"))
    entries = [match for line in lines if (match := re.match(r"    (\*{0,2}\w[\w, ]*): ", line))]
    return [name.strip(" *") for entry in entries for name in entry[1].split(",")]


def test_entries_and_arguments_are_found():
    text = '"""Do.\n\n    Args:\n        a: Of it.\n        b: A\n            b.\n    """'
    tree = ast.parse(f"def f(a, b):\n    {text}")
    assert list(docstring_entries(tree)) == ["Of it.", "A b."]
    (function,) = tree.body
    assert documented_arguments(function) == ["a", "b"] == list(arguments(function))
