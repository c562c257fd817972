"""figures.json: what the report of a run draws, without ids, in the order of sites."""

import numpy as np

from fedcl.data.cohort import Cohort
from fedcl.evaluation.map2d import map_2d
from fedcl.experiment.probing import EvaluatedFeatures


def figure_data(found: EvaluatedFeatures, cohort: Cohort, seed: int) -> dict[str, object]:
    """Return what the report draws of an evaluation (docs/reference/results_schema.md)."""
    drawn = found.features
    return {
        "map": None if drawn is None else embedding_map(drawn[1], cohort, seed),
        "predictions": {
            name: {"true": np.round(true, 2).tolist(), "predicted": np.round(p, 2).tolist()}
            for name, (true, p) in found.representation.predictions.items()
        },
    }


def embedding_map(embeddings: np.ndarray, cohort: Cohort, seed: int) -> dict[str, object]:
    """Return the map of everybody's embeddings, with what its dots are coloured by."""
    points = np.round(map_2d(embeddings, seed=seed).astype(float), 4)
    table = cohort.table
    return {
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "age": table["age"].round(1).tolist(),
        "site": table["site"].tolist(),
        "split": table["split"].tolist(),
    }
