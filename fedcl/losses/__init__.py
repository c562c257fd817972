"""Contrastive losses as modules of a training loop: `LExp(Gaussian(5.0))(first, second, ages)`.

Each takes the embeddings of two views of every participant and what its kernel compares them by,
and gives the number that `objective` in a configuration gives. Their formulas stand beside them, as
functions of `fedcl.losses.pairs.Pairs`; what the configuration knows of each stands in
`fedcl.config.loss_records`. With `torch.compile`, compile the network and leave the loss as it is.
"""

from typing import TYPE_CHECKING, Any

from fedcl import public_names
from fedcl.config.code_paths import load_code
from fedcl.config.loss_records import LOSSES

if TYPE_CHECKING:
    from fedcl.losses.conditional import (
        ConditionalAlignmentUniformity as ConditionalAlignmentUniformity,
    )
    from fedcl.losses.eps_sup_con import EpsSupCon as EpsSupCon
    from fedcl.losses.eps_sup_con import EpsSupInfoNCE as EpsSupInfoNCE
    from fedcl.losses.info_nce import EpsInfoNCE as EpsInfoNCE
    from fedcl.losses.info_nce import InfoNCE as InfoNCE
    from fedcl.losses.l_exp import LExp as LExp
    from fedcl.losses.l_thr import LThr as LThr
    from fedcl.losses.soft_targets import Euclidean as Euclidean
    from fedcl.losses.soft_targets import SoftSupCon as SoftSupCon
    from fedcl.losses.soft_targets import XClr as XClr
    from fedcl.losses.sup_con import SupCon as SupCon
    from fedcl.losses.uniformity import DecoupledUniformity as DecoupledUniformity
    from fedcl.losses.yaware import YAware as YAware

_PATHS = {
    path.partition(":")[2]: path for path in (r.module for r in LOSSES.values()) if path is not None
}

__all__ = sorted(_PATHS)


def __getattr__(name: str) -> Any:
    if name not in _PATHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_code(_PATHS[name])  # torch is imported when a loss is first used


__dir__ = public_names(__name__)
