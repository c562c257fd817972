"""What travels for an evaluation from sums: the probes there, sums and errors back."""

import numpy as np
from flwr.app import ConfigRecord

from fedcl.arrays.tensors import State
from fedcl.errors import WireError
from fedcl.evaluation.error_sums import CELL_OF, ErrorSums, RecognisedCount
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors, SumProbes
from fedcl.messages.headers import get, get_list
from fedcl.messages.releases import EvaluationErrors, EvaluationSums


def probe_arrays(probes: dict[str, SumProbes]) -> State:
    """Return probes by kind of features as named arrays."""
    return {
        f"{kind}/{name}": array
        for kind, pair in probes.items()
        for name, array in pair.arrays().items()
    }


def read_probes(arrays: State, sites: tuple[str, ...]) -> dict[str, SumProbes]:
    """Return probes from arrays.

    Args:
        arrays: By name.
        sites: The labels that the site probe tells apart.

    Raises:
        WireError: which arrays cannot be those of a probe.
    """
    kinds = sorted({name.partition("/")[0] for name in arrays})
    probes = {}
    for kind in kinds:
        age, site = _array(arrays, f"{kind}/age", 1), _array(arrays, f"{kind}/site", 2)
        if len(age) < 3 or site.shape != (len(sites), len(age) - 1):
            raise WireError(f"{kind}: shapes {age.shape}, {site.shape} are not those of probes")
        probes[kind] = SumProbes.from_arrays(sites, age, site)
    return probes


def read_evaluation(header: ConfigRecord, arrays: State) -> EvaluationSums | EvaluationErrors:
    """Read what a site says for an evaluation.

    Raises:
        WireError: what is missing or malformed.
    """
    site, number = get(header, "site", str), get(header, "round", int)
    participants, seconds = get(header, "participants", int), get(header, "seconds", float)
    kinds = get_list(header, "features", str)
    if len(set(kinds)) < len(kinds):
        raise WireError("features: named twice")
    if header["kind"] == "evaluation sums":
        sums = {kind: _sums(arrays, kind, participants) for kind in kinds}
        _require_nothing_else(arrays, {f"{k}/{n}" for k in kinds for n in ("totals", "products")})
        return EvaluationSums(site, number, participants, sums, seconds)
    errors = {k: _errors(header, arrays, place) for place, k in enumerate(kinds)}
    _require_nothing_else(arrays, {f"{k}/errors" for k, one in errors.items() if one.cells})
    return EvaluationErrors(site, number, participants, errors, seconds)


def _sums(arrays: State, kind: str, participants: int) -> RidgeSums:
    totals = _array(arrays, f"{kind}/totals", 1)
    products = _array(arrays, f"{kind}/products", 1)
    if len(totals) < 2 or len(products) != len(totals) * (len(totals) + 1) // 2:
        raise WireError(f"{kind}: {len(products)} products do not fit {len(totals)} totals")
    return RidgeSums.from_arrays(participants, totals, products)


def _errors(header: ConfigRecord, arrays: State, place: int) -> SiteErrors:
    kind = get_list(header, "features", str)[place]
    names, counts = get_list(header, "cells", str), get_list(header, "counts", int)
    unknown = [name for name in names if name not in CELL_OF]
    if unknown or len(set(names)) < len(names) or len(counts) != len(names):
        raise WireError("cells: expected one count for each group, once, and no unknown group")
    cells = {}
    if names:
        rows = _array(arrays, f"{kind}/errors", 2)
        if rows.shape != (len(names), 3):
            raise WireError(f"{kind}/errors: shape {rows.shape} for {len(names)} groups")
        for name, count, row in zip(names, counts, rows.tolist(), strict=True):
            cells[CELL_OF[name]] = ErrorSums(count, *row)
    tested, correct = get(header, "tested", int), get_list(header, "recognised", int)
    if not tested:
        return SiteErrors(cells, None)
    if len(correct) != len(get_list(header, "features", str)):
        raise WireError("recognised: expected one number for each kind of features")
    return SiteErrors(cells, RecognisedCount(tested, correct[place]))


def _array(arrays: State, name: str, dims: int) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.ndim != dims or array.dtype != np.float64:
        raise WireError(f"{name}: expected float64 of {dims} dimensions")
    return array


def _require_nothing_else(arrays: State, names: set[str]) -> None:
    if set(arrays) != names:
        raise WireError(f"expected the arrays {sorted(names)}")
