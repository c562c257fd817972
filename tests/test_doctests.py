"""The examples in the public docstrings run, in a folder of their own, and print nothing else."""

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

PUBLIC = [
    "fedcl.debiasing.conditional_means",
    "fedcl.debiasing.coral",
    "fedcl.debiasing.end",
    "fedcl.debiasing.fairkl",
    "fedcl.debiasing.feature_moments",
    "fedcl.kernels.label_kernels",
    "fedcl.losses.conditional",
    "fedcl.losses.eps_sup_con",
    "fedcl.losses.info_nce",
    "fedcl.losses.l_exp",
    "fedcl.losses.l_thr",
    "fedcl.losses.soft_targets",
    "fedcl.losses.sup_con",
    "fedcl.losses.uniformity",
    "fedcl.losses.yaware",
    "fedcl.config.overrides",
    "fedcl.data.open",
    "fedcl.data.openbhb",
    "fedcl.data.phantom.cohort",
    "fedcl.evaluation.openbhb_challenge",
    "fedcl.evaluation.split",
    "fedcl.experiment.api",
    "fedcl.experiment.encoder",
    "fedcl.harmonisation.combat",
    "fedcl.harmonisation.design",
    "fedcl.models.alexnet",
    "fedcl.models.densenet",
    "fedcl.models.mlp",
    "fedcl.models.resnet",
    "fedcl.privacy.accounting",
    "fedcl.privacy.spent",
]
"""Modules that define public names; their examples run."""

CONFIGS = Path(__file__).parents[1] / "configs"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

EXAMPLES = [
    pytest.param(example, id=example.name)
    for name in PUBLIC
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_it_shows(example, tmp_path, monkeypatch):
    shutil.copytree(CONFIGS, tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=told.append)
    assert tried
    assert not failed, "".join(told)
