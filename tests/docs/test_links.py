"""Whoever follows a link or a path in the project's pages finds what it names."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if (ROOT / name).is_file()
)

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^()\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_NAMED = re.compile(
    r"(?<![\w/.-])((?:docs|configs|benchmarks)/[\w/-]+\.(?:md|yaml|py|svg|ipynb))\b"
)
_SOURCES = [
    path
    for pattern in ("fedcl/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "configs/**/*.yaml")
    for path in sorted(ROOT.glob(pattern))
] + [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "mkdocs.yml"]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as a reader of Markdown makes them."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w -]", "", heading).strip().replace(" ", "-") for heading in plain}


def links(page: Path) -> list[str]:
    """Return the relative links of a page, but for those shown as code."""
    return _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))


def test_there_are_pages_with_links():
    assert len(PAGES) > 20
    assert sum(len(links(page)) for page in PAGES) > 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.relative_to(ROOT)}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", [*PAGES, *_SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_page_and_configuration_that_is_named_exists(path):
    for name in _NAMED.findall(path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"
