"""Debiasing terms as modules of a training loop: `FairKL(Discrete())(vectors, labels, bias)`.

Each takes vectors of a batch, what its kernel compares participants by, and the bias whose
influence is to go, such as the site; it gives the number that the term under `debias` in a
configuration gives. The formulas stand beside them as functions; what the configuration knows of
each stands in `fedcl.config.debiasing`.
"""

from typing import TYPE_CHECKING, Any

from fedcl import public_names
from fedcl.config.code_paths import load_code
from fedcl.config.debiasing import DEBIASING

if TYPE_CHECKING:
    from fedcl.debiasing.conditional_means import ConditionalMeans as ConditionalMeans
    from fedcl.debiasing.coral import Coral as Coral
    from fedcl.debiasing.end import EnD as EnD
    from fedcl.debiasing.fairkl import FairKL as FairKL
    from fedcl.debiasing.fairkl import FairKLRegression as FairKLRegression
    from fedcl.debiasing.feature_moments import FeatureMoments as FeatureMoments

_PATHS = {path.partition(":")[2]: path for path in (s.record.module for s in DEBIASING.values())}

__all__ = sorted(_PATHS)


def __getattr__(name: str) -> Any:
    if name not in _PATHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_code(_PATHS[name])  # torch is imported when a term is first used


__dir__ = public_names(__name__)
