"""ARCHITECTURE.md names the rooms that there are."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_architecture_names_every_room_of_the_import_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    rooms = {room.strip() for layer in layers for room in layer.split("|")} - {"__main__"}
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The rooms")[2]
    table = table.partition("Further contracts")[0]
    assert rooms - set(re.findall(r"`(\w+)`", table)) == set()
