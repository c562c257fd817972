"""The page of the API has every public name, and no other."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from fedcl import errors

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
LISTED = set(re.findall(r"^::: (\S+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
PACKAGES = ("data", "debiasing", "evaluation", "harmonisation", "kernels", "losses", "models")


@pytest.mark.parametrize(
    "package", ["fedcl", *(f"fedcl.{name}" for name in (*PACKAGES, "privacy"))]
)
def test_the_page_lists_what_a_package_exports(package):
    public = {name for name in import_module(package).__all__ if not name.startswith("__")}
    if package == "fedcl":
        public -= set(dir(errors))  # listed by their module
    listed = {name.rpartition(".")[2] for name in LISTED if name.rpartition(".")[0] == package}
    assert listed - {"errors"} == public
