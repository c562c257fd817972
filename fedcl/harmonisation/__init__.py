"""ComBat harmonisation: the sites' own shifts and scales of features, estimated and taken out.

`Combat` is a scikit-learn estimator on arrays; `covariate_columns` makes its covariates of age and
sex. The other modules are the arithmetic of it, as sums that sites of a federation could send.
"""

from typing import TYPE_CHECKING

from fedcl import lazy_names

if TYPE_CHECKING:
    from fedcl.harmonisation.combat import Combat as Combat
    from fedcl.harmonisation.design import covariate_columns as covariate_columns

__all__ = ["Combat", "covariate_columns"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"Combat": "fedcl.harmonisation.combat", "covariate_columns": "fedcl.harmonisation.design"},
)
