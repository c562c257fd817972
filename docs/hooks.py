"""What mkdocs needs beyond its own: pages that lie outside docs/, notebooks, and links to code.

The pages of this project are read in a checkout as well as on the site. So every link is one that
holds in the checkout; here those that lead out of docs/ are turned to where the site has the page.
"""

import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CONTRIBUTING.md": "how-to/contributing.md",
    "CHANGELOG.md": "reference/changelog.md",
    "sites/README.md": "how-to/sites.md",
    "server/README.md": "how-to/server.md",
}
"""Pages of the checkout that lie outside docs/, and where the site has them."""

_LINK = re.compile(r"\[([^\[\]]*)\]\((?!https?:|mailto:|#)([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/ with the settings beside them, and notebooks as pages."""
    for source, target in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        for settings in sorted((ROOT / source).parent.glob("*.yaml")):
            shown = settings.read_text(encoding="utf-8")
            text += f"\n## {settings.name}, annotated\n\n```yaml\n{shown}```\n"
        files.append(File.generated(config, target, content=_led_from(text, source, target)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = ROOT / "docs" / notebook.src_uri
        page = notebook.src_uri.removesuffix(".ipynb") + ".md"
        text = _markdown(json.loads(path.read_text(encoding="utf-8")))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page that lead out of docs/ or to a notebook."""
    if page.file.src_uri in OUTSIDE.values():
        return markdown
    source = f"docs/{page.file.src_uri}"
    return _led_from(markdown, source, page.file.src_uri)


def _led_from(text: str, source: str, target: str) -> str:
    """Return a page's text with its links as the site needs them.

    Args:
        text: Markdown.
        source: Path of the page in the checkout.
        target: Path of the page on the site.
    """

    def turned(link: re.Match[str]) -> str:
        words, to, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), to))
        if path in OUTSIDE:
            path = OUTSIDE[path]
        elif path.startswith("docs/"):
            path = path.removeprefix("docs/")
            if path.endswith(".ipynb") and "download" not in words:
                path = path.removesuffix(".ipynb") + ".md"
        elif path == "README.md":
            path = "index.md"
        else:
            return f"{words}"  # code: the site has none
        return f"[{words}]({posixpath.relpath(path, posixpath.dirname(target) or '.')}{anchor})"

    return _LINK.sub(turned, text)


def _markdown(notebook: Mapping[str, Any]) -> str:
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        for output in cell.get("outputs", ()):
            shown = output.get("text") or output.get("data", {}).get("text/plain", "")
            if shown:
                parts.append(f"```text\n{''.join(shown).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
