"""Measure how a checkout reads: rooms, loose files, names, entries of docstrings, lengths.

    python benchmarks/house.py [CHECKOUT]

Only the sources are read, so a checkout of any version can be measured with one script. A room is a
folder of code, or a loose file at the root of `fedcl/`. A back arrow is an import between two
rooms that import each other, directly or around a circle.
"""

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

_SIDES = ("fedcl", "sites", "server")
_ENTRY = re.compile(r"^    ( *)([a-z_]\w*(?:, [a-z_]\w*)*): (.*)$")
_SECTIONS = ("Args:", "Attributes:")


def main(root: Path) -> None:
    """Print the figures of a checkout, one per line."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _sources(root)}
    names = Counter(name for tree in trees.values() for name in _public_names(tree))
    entries = [entry for tree in trees.values() for entry in docstring_entries(tree)]
    functions = [
        _code_lines(node)
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in trees]
    loose = [path for path in trees if path.parent == root / "fedcl"]
    rooms = {_room(root, path) for path in trees}
    arrows = _arrows(root, trees)
    repeated = {name: count for name, count in names.items() if count > 1}
    for what, value in (
        ("files", len(trees)),
        ("rooms (loose files among them)", len(rooms)),
        ("loose files in fedcl/", len(loose)),
        ("arrows between rooms", len(arrows)),
        ("back arrows", len(_back(arrows))),
        ("public names defined more than once", len(repeated)),
        ("argument and attribute entries", len(entries)),
        ("entries of three words or fewer", sum(len(e.split()) <= 3 for e in entries)),
        ('entries that begin with "Of"', sum(e.startswith("Of ") for e in entries)),
        ("functions", len(functions)),
        ("median function, lines of code", statistics.median(functions)),
        ("longest function, lines of code", max(functions)),
        ("functions over 50 lines of code", sum(length > 50 for length in functions)),
        ("median file, lines", statistics.median(lines)),
        ("longest file, lines", max(lines)),
        ("files over 300 lines", sum(length > 300 for length in lines)),
    ):
        print(f"{what:38} {value:g}")
    for start, end in sorted(_back(arrows)) if "--arrows" in sys.argv else ():
        print(f"{start} -> {end}")
    if "--names" in sys.argv:
        print("\n".join(f"{name}: {count}" for name, count in sorted(repeated.items())))


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function, its docstring left out."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def _sources(root: Path) -> list[Path]:
    return [
        path
        for side in _SIDES
        for path in sorted((root / side).rglob("*.py"))
        if path.read_text(encoding="utf-8").strip()
    ]


def _public_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found = name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found = name
            case _:
                continue
        if not found.startswith("_"):
            yield found


def docstring_entries(tree: ast.Module) -> Iterator[str]:
    """Yield the text of each entry of an "Args:" or "Attributes:" section, without its name.

    `tests/test_docstrings.py` holds the sources against the same entries.
    """
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, documented) else None
        inside, entry = False, None
        for line in (text or "").splitlines():
            if line.strip() in _SECTIONS:
                inside = True
            elif line and not line.startswith(" "):
                inside = False
            elif inside and (match := _ENTRY.match(line)) and not match[1]:
                if entry is not None:
                    yield entry
                entry = match[3]
            elif inside and line.strip() and entry is not None:
                entry += " " + line.strip()
            if not inside and entry is not None:
                yield entry
                entry = None
        if entry is not None:
            yield entry


def _arrows(root: Path, trees: dict[Path, ast.Module]) -> set[tuple[str, str]]:
    modules = {_dotted(root, path): path for path in trees}
    arrows = set()
    for path, tree in trees.items():
        here = _room(root, path)
        for node in ast.walk(tree):
            for name in _imported(node):
                found = name if name in modules else name.rpartition(".")[0]
                if found in modules:
                    there = _room(root, modules[found])
                    if here != there and found != "fedcl":
                        arrows.add((here, there))
    return arrows


def _room(root: Path, path: Path) -> str:
    """Return the folder of `fedcl/` that a file lies in; a loose file is a room by itself."""
    return "/".join(path.relative_to(root).parts[: 2 if path.is_relative_to(root / "fedcl") else 1])


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [f"{module}.{alias.name}" for alias in names]
        case _:
            return []


def _dotted(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _back(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows that lie on a circle."""
    onward = defaultdict(set)
    for start, end in arrows:
        onward[start].add(end)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for after in onward[todo.pop()] - seen:
                seen.add(after)
                todo.append(after)
        return seen

    return {(start, end) for start, end in arrows if start in reached(end)}


if __name__ == "__main__":
    folders = [word for word in sys.argv[1:] if not word.startswith("-")]
    main(Path(folders[0] if folders else Path(__file__).parents[1]).resolve())
