"""Write the phantom: a folder in OpenBHB's layout with 64 simulated sites and their participants.

Site sizes, ages, sexes and field strengths follow OpenBHB's aggregates (Dufumier et al.,
NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2022.119637), shipped in
`openbhb_sites.tsv`; `anatomy` simulates the brains, `scanner` the site effect. The regions of the
ROI tables are the phantom's own, in the same number and order as CAT12's: 142 grey-matter volumes,
then 142 volumes of cerebrospinal fluid, in ml.
"""

import difflib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.threads import in_threads
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, TRAIN
from fedcl.data.phantom.anatomy import (
    Anatomy,
    Grid,
    Template,
    draw_anatomy,
    load_template,
    region_volumes,
)
from fedcl.data.phantom.scanner import Scanner, draw_scanner, scan
from fedcl.errors import DataError
from fedcl.files.atomic import write_folder, write_json
from fedcl.seeds import derive, numpy_generator

SETTINGS_FILE = "phantom.json"
FEWEST_PER_SPLIT = 3
"""Least number of participants of a site, and of training participants of a training site."""
PHANTOM_COLUMNS = (
    *("participant_id", "study", "sex", "age", "site", "diagnosis", "tiv", "csfv", "gmv", "wmv"),
    *("magnetic_field_strength", "acquisition_setting", "siteXacq", "split"),
)
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def write_phantom(
    folder: str | Path,
    *,
    scale: float = 0.15,
    grid: Grid = (24, 29, 24),
    scanner_strength: float = 1.0,
    seed: int = 7,
    sites: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write the phantom; the folder appears complete under its name, or not at all.

    The same settings give the same bytes. An earlier phantom in this folder is replaced.

    Args:
        folder: Folder to write `participants.tsv`, `train`, `val` and `phantom.json` into.
        scale: Site sizes as a share of OpenBHB's 3984 participants, in (0, 1].
        grid: Number of voxels along x, y, z of OpenBHB's field of view, 181.5 x 217.5 x 181.5 mm.
        scanner_strength: Factor of every scanner effect, at least 0; 1 is the usual spread.
        seed: Seed from which every draw is derived.
        sites: Labels of the sites to write, with the same participants as in the whole cohort; None
            writes all sites.
        progress: Object that is told how many participants are written.

    Raises:
        DataError: the folder holds something that is not a phantom, cannot be written, or there is
            no such site.

    Example:
        >>> from pathlib import Path
        >>> from fedcl.data import write_phantom
        >>> write_phantom("phantom", scale=0.01, grid=(10, 12, 10), sites=["10", "13"])
        >>> sorted(path.name for path in Path("phantom").iterdir())
        ['participants.tsv', 'phantom.json', 'train', 'val']
    """
    folder = Path(folder)
    if not 0 < scale <= 1:
        raise DataError(f"scale: {scale:g}; expected a share of OpenBHB's participants in (0, 1]")
    if folder.exists() and not (folder / SETTINGS_FILE).is_file():
        raise DataError(
            f"{folder}: exists and is not a phantom (no {SETTINGS_FILE}); "
            "give data.path a folder that does not exist yet"
        )
    people = draw_participants(scale=scale, seed=seed, sites=sites)
    settings = settings_of(
        scale=scale, grid=grid, scanner_strength=scanner_strength, seed=seed, sites=sites
    )

    def fill(temporary: Path) -> None:
        _fill(temporary, people, grid, scanner_strength, seed, progress)
        write_json(temporary / SETTINGS_FILE, settings)

    try:
        write_folder(folder, fill)
    except OSError as error:
        raise DataError(f"{folder}: cannot write the phantom: {error.strerror or error}") from error


def settings_of(
    *, scale: float, grid: Grid, scanner_strength: float, seed: int, sites: Sequence[str] | None
) -> dict[str, object]:
    """Return the content of `phantom.json`: all settings that decide the bytes of the folder.

    Raises:
        DataError: there is no such site.
    """
    return {
        "scale": scale,
        "grid": list(grid),
        "scanner_strength": scanner_strength,
        "seed": seed,
        "sites": None if sites is None else site_facts(sites)["siteXacq"].tolist(),
    }


def draw_participants(
    *, scale: float, seed: int, sites: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the participants table in OpenBHB's columns without tissue volumes, site by site.

    Args:
        scale: Site sizes as a share of OpenBHB's, in (0, 1]; a site keeps at least 3 participants,
            a training site at least 3 of them in train, and an internal test at least 1.
        seed: Seed from which ages and sexes are drawn.
        sites: Labels of the sites to include; None includes all.

    Raises:
        DataError: there is no such site.
    """
    facts = site_facts(sites)
    return pd.concat(
        [_draw_site(fact, scale, seed) for _, fact in facts.iterrows()], ignore_index=True
    )


def site_facts(sites: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the aggregates of OpenBHB's sites, one row each, in the order of the file.

    The columns are explained in `openbhb_sites.tsv`.

    Args:
        sites: Labels of the sites to return; None returns all.

    Raises:
        DataError: there is no such site; the message offers the nearest label.
    """
    with files("fedcl.data").joinpath("openbhb_sites.tsv").open(encoding="utf-8") as table:
        facts = pd.read_csv(table, sep="\t", comment="#", dtype={"siteXacq": str})
    if sites is None:
        return facts
    known = facts["siteXacq"].tolist()
    for label in sites:
        if label not in known:
            close = difflib.get_close_matches(label, known, n=1, cutoff=0.4)
            nearest = f" (is it {close[0]!r}?)" if close else ""
            raise DataError(
                f"the phantom has no site {label!r}{nearest}; its sites are {known[0]} to "
                f"{known[-1]}, OpenBHB's siteXacq"
            )
    return facts[facts["siteXacq"].isin(sites)]


def _draw_site(fact: pd.Series, scale: float, seed: int) -> pd.DataFrame:
    label = fact["siteXacq"]
    sizes = {
        TRAIN: _scaled(fact["n_train"], scale, fewest=FEWEST_PER_SPLIT),
        INTERNAL_TEST: _scaled(fact["n_internal_test"], scale, fewest=1),
        EXTERNAL_TEST: _scaled(fact["n_external_test"], scale, fewest=FEWEST_PER_SPLIT),
    }
    n = sum(sizes.values())
    real = fact[["n_train", "n_internal_test", "n_external_test"]].sum()
    random = numpy_generator(seed, "participants", label)
    # One draw from each of n equal slices of the distribution: small sites keep its shape.
    quantiles = random.permutation((np.arange(n) + random.random(n)) / n)
    female = random.permutation(n) < round(n * fact["n_female"] / real)
    return pd.DataFrame(
        {
            # Ids have twelve digits, as in OpenBHB.
            "participant_id": [f"9{int(label):03d}{number:08d}" for number in range(n)],
            "study": fact["study"],
            "sex": np.where(female, "female", "male"),
            "age": np.round(np.interp(quantiles, *_age_distribution(fact)), 2),
            "site": fact["site"],
            "diagnosis": "control",
            "magnetic_field_strength": fact["field_strength_t"],
            "acquisition_setting": 1,
            "siteXacq": label,
            "split": np.repeat(list(sizes), list(sizes.values())),
        }
    )


def _scaled(size: int, scale: float, *, fewest: int) -> int:
    return max(fewest, int(size * scale + 0.5)) if size else 0


def _age_distribution(fact: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return (shares, ages), the points of the distribution function of a site's ages.

    They are taken from the site's histogram and quantiles, and are interpolated linearly.
    """
    bins = [name for name in fact.index if name.startswith("n_age_")]
    counts = fact[bins].to_numpy(dtype=float)
    edges = [float(name.removeprefix("n_age_").split("_")[0]) for name in bins]
    lowest, highest = fact["age_min"], fact["age_max"]
    below = np.concatenate(([0], np.cumsum(counts)[:-1])) / counts.sum()
    known = [
        (age, share) for age, share in zip(edges, below, strict=True) if lowest < age < highest
    ]
    known += [(fact[f"age_{name}"], share) for name, share in QUANTILES.items()]
    ages, shares = np.array(sorted(known)).T
    return np.maximum.accumulate(shares), ages


def _fill(
    folder: Path,
    people: pd.DataFrame,
    grid: Grid,
    scanner_strength: float,
    seed: int,
    progress: Progress,
) -> None:
    template = load_template(grid)
    sites = people.drop_duplicates("siteXacq")
    scanners = {
        label: draw_scanner(seed, label, strength=scanner_strength, field_strength_t=field_t)
        for label, field_t in zip(sites["siteXacq"], sites["magnetic_field_strength"], strict=True)
    }

    def write(person: dict[Hashable, Any]) -> tuple[float, ...]:
        own = derive(seed, "participant", person["participant_id"])
        male = person["sex"] == "male"
        anatomy = draw_anatomy(template, age_years=person["age"], male=male, seed=own)
        grey, regions = _scanned(anatomy, template, scanners[person["siteXacq"]], seed=own)
        name = f"sub-{person['participant_id']}"
        half = "train" if person["split"] == TRAIN else "val"
        place = folder / half / "derivatives" / name / "ses-1"
        place.mkdir(parents=True)
        np.save(place / f"{name}_preproc-cat12vbm_desc-gm_T1w.npy", grey[None, None])
        np.save(place / f"{name}_preproc-cat12vbm_desc-gm_ROI.npy", regions[None, None])
        parts = (anatomy.fluid_ml, anatomy.grey_ml, anatomy.white_ml)
        return sum(parts), *parts

    persons = people.to_dict("records")
    volumes_ml = in_threads(write, persons, progress=progress, what="Writing participants")
    table = pd.DataFrame(volumes_ml, columns=["tiv", "csfv", "gmv", "wmv"]).round(2)
    people = pd.concat((people, table), axis=1)[list(PHANTOM_COLUMNS)]
    people.to_csv(folder / "participants.tsv", sep="\t", index=False, lineterminator="\n")


def _scanned(
    anatomy: Anatomy, template: Template, scanner: Scanner, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the grey-matter map and the 284 regional volumes in ml as the site sees them."""
    grey = scan(anatomy.grey, scanner, seed=seed)
    # A segmentation that enlarges grey matter takes the volume from the fluid around it.
    opposite = replace(scanner, segmentation_bias=-scanner.segmentation_bias)
    fluid = scan(anatomy.fluid, opposite, seed=derive(seed, "fluid"))
    regions = [region_volumes(tissue, template) for tissue in (grey, fluid)]
    return grey, np.concatenate(regions)
