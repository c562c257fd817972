"""Every per-anchor loss by name, with parameters, as a function of the pairs."""

import math

from fedcl.losses.eps_sup_con import (
    eps_sup_con,
    eps_sup_con_authors_variant,
    eps_sup_info_nce,
    eps_sup_info_nce_authors_variant,
)
from fedcl.losses.info_nce import eps_info_nce, info_nce
from fedcl.losses.l_exp import l_exp, l_exp_authors_variant
from fedcl.losses.l_thr import l_thr, l_thr_authors_variant
from fedcl.losses.soft_targets import euclidean, soft_sup_con, x_clr
from fedcl.losses.sup_con import sup_con
from fedcl.losses.yaware import y_aware, y_aware_authors_variant

T = 0.01
PER_ANCHOR = {
    "l_exp": l_exp,
    "l_exp_authors_variant": lambda p: l_exp_authors_variant(p, temperature=T),
    "l_thr": l_thr,
    "l_thr_authors_variant": lambda p: l_thr_authors_variant(p, temperature=T),
    "y_aware": y_aware,
    "y_aware_authors_variant": y_aware_authors_variant,
    "info_nce": info_nce,
    "eps_info_nce": lambda p: eps_info_nce(p, epsilon=0.5),
    "decoupled": lambda p: eps_info_nce(p, epsilon=math.inf),
    "sup_con": sup_con,
    "eps_sup_info_nce": lambda p: eps_sup_info_nce(p, epsilon=0.5),
    "eps_sup_info_nce_inf": lambda p: eps_sup_info_nce(p, epsilon=math.inf),
    "eps_sup_info_nce_authors_variant": lambda p: eps_sup_info_nce_authors_variant(
        p, epsilon=0.5, temperature=T
    ),
    "eps_sup_con": lambda p: eps_sup_con(p, epsilon=0.5),
    "eps_sup_con_authors_variant": lambda p: eps_sup_con_authors_variant(
        p, epsilon=0.5, temperature=T
    ),
    "x_clr": lambda p: x_clr(p, label_temperature=0.1),
    "soft_sup_con": lambda p: soft_sup_con(p, label_temperature=0.1),
    "euclidean": lambda p: euclidean(p, label_temperature=1.0),
}
