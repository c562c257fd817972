"""Read a folder of NIfTI scans, flat or BIDS-like, and its participants table.

Scans are brought to RAS orientation, resampled to the configured voxel size, cropped or padded to
the grid, and scaled. Simulated scanners can be added: participants are then assigned to new sites,
whose effects are known.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from fedcl.config.data import NiftiData, SimulatedScanners
from fedcl.data.cache import VolumeCache
from fedcl.data.cohort import Cohort, in_site_order, manifest_digest
from fedcl.data.participants import read_table, tidy
from fedcl.data.phantom.scanner import draw_scanner, scan
from fedcl.data.problems import Problems
from fedcl.data.scans import ENTITIES
from fedcl.data.splits import draw_splits
from fedcl.data.volumes import check_finite, read_nifti, scale, to_spacing
from fedcl.errors import DataError
from fedcl.seeds import derive


def read_nifti_cohort(
    data: NiftiData, *, seed: int, cache: Path, problems: Problems, own_site: str | None = None
) -> Cohort:
    """Return the cohort of a NIfTI folder.

    Problems of single participants are collected in `problems`; one that prevents reading the
    cohort at all is raised. With `own_site`, only scans of that site are looked for.

    Raises:
        DataError: the folder does not exist, holds no scans, or the table lacks a column.
    """
    if own_site is not None and data.simulated_scanners is not None:
        raise DataError(
            "data.simulated_scanners: deals participants to invented sites, and site "
            f"{own_site!r} has its own; write null"
        )
    if not data.path.is_dir():
        raise DataError(f"{data.path}: no such folder; set data.path to the folder of scans")
    scans = sorted(path for path in data.path.rglob("*") if path.name.endswith((".nii", ".nii.gz")))
    if not scans:
        raise DataError(f"{data.path}: no .nii or .nii.gz file in it")
    who = data.path / data.participants
    table = tidy(
        read_table(who),
        data.columns,
        who,
        problems,
        needs_split=data.splits is None,
        own_site=own_site,
    )
    files = match_scans(table, scans, data, problems)
    table = table[[name in files for name in table["scan"]]].reset_index(drop=True)
    if table.empty:
        problems.stop_if_any()
    if data.simulated_scanners is not None:
        table["original_site"] = table["site"]
        table["site"] = deal(table["participant_id"], data.simulated_scanners, seed=seed)
    if data.splits is not None:
        table["split"] = draw_splits(table, data.splits, seed=seed, one_site=own_site is not None)
    table = in_site_order(table)

    names, sites = table["scan"].tolist(), table["site"].tolist()
    settings = f"nifti {data.grid} {data.spacing_mm} {data.intensity} 1"
    store = VolumeCache(cache, settings)

    def read(row: int) -> np.ndarray:
        name = names[row]

        def make(file: Path) -> np.ndarray:
            volume, affine = read_nifti(file, name)
            check_finite(volume, file, name)
            volume = to_spacing(volume, affine, grid=data.grid, spacing_mm=data.spacing_mm)
            if data.simulated_scanners is None:
                return scale(volume, data.intensity)[None]
            strength = data.simulated_scanners.strength
            scanner = draw_scanner(seed, sites[row], strength=strength)
            # The simulated scanner expects values of about [0, 1].
            unit = scale(volume, "vbm") if data.intensity == "vbm" else volume / volume.max()
            scanned = scan(unit, scanner, seed=derive(seed, "scanner noise", name))
            return scale(scanned, data.intensity)[None]

        simulated = data.simulated_scanners
        variant = f"{seed} {sites[row]} {simulated.strength} {name}" if simulated else ""
        return store.read(files[name], make, variant=variant)

    return Cohort(
        name=f"NIfTI {data.path.name}",
        table=table,
        shape=(1, *data.grid),
        read=read,
        digest=manifest_digest(
            table, [f"{files[i].name} {files[i].stat().st_size}" for i in names]
        ),
        files=tuple(files[name] for name in names),
    )


def match_scans(
    table: pd.DataFrame, scans: list[Path], data: NiftiData, problems: Problems
) -> dict[str, Path]:
    """Return the file of each scan by the scan's name; a scan with no file or several is a problem.

    In the pattern `*` stays within a folder, `**/` spans folders, and `{participant}` is the id,
    with or without `sub-`, not followed by another letter or digit. Where a participant has several
    rows, or several files match, the row's session and run must be in the path, as in BIDS.
    """
    relative = {path: path.relative_to(data.path).as_posix() for path in scans}
    files: dict[str, Path] = {}
    absent: dict[str, str] = {}
    present = [entity for entity in ENTITIES if entity in table]
    for row in table.to_dict("records"):
        participant, name = str(row["participant_id"]), str(row["scan"])
        pattern = _expression(data.pattern, participant)
        matches = [p for p, text in relative.items() if participant in text and pattern(text)]
        if len(matches) > 1 or name != participant:
            labels = [f"{ENTITIES[entity]}-{row[entity]}" for entity in present if row[entity]]
            matches = [path for path in matches if _holds(relative[path], labels)]
        if not matches:
            absent[name] = participant
        elif len(matches) > 1:
            names = ", ".join(relative[path] for path in matches[:3])
            problems.add(
                f"{data.path}: participant {name} has {len(matches)} scans ({names}); "
                "narrow data.pattern to one"
            )
        else:
            files[name] = matches[0]
    problems.who["scan"] = tuple(dict.fromkeys(absent.values()))
    problems.add_each(
        str(data.path),
        f"listed but no scan fits {data.pattern!r}",
        list(absent),
        f"add the files, change data.pattern, or remove their rows from {data.participants}",
    )
    return files


def _holds(path: str, labels: Iterable[str]) -> bool:
    bounds = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    return all(re.search(bounds.format(re.escape(label)), path) for label in labels)


def deal(participants: pd.Series, scanners: SimulatedScanners, *, seed: int) -> pd.Series:
    """Return a simulated site for each participant, drawn with probability proportional to k + 2.

    Here k is the site's number from 0, so that sizes differ as they do between real sites.
    """
    shares = np.arange(2, scanners.count + 2, dtype=float).cumsum()
    draws = participants.map(lambda i: derive(seed, "simulated scanner", str(i)) / 2**63)
    places = np.searchsorted(shares / shares[-1], draws.to_numpy(dtype=float), side="right")
    return pd.Series([f"scanner-{place:02d}" for place in places], index=participants.index)


def _expression(pattern: str, participant: str):  # type: ignore[no-untyped-def]
    parts = re.split(r"(\*\*/|\*|\?|\{participant\})", pattern)
    meaning = {
        "**/": "(?:.*/)?",
        "*": "[^/]*",
        "?": "[^/]",
        "{participant}": f"(?:sub-)?{re.escape(participant)}(?![A-Za-z0-9])",
    }
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts)).fullmatch
