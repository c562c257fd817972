"""Importing fedcl changes nothing outside of fedcl: a user's process stays the user's."""

import subprocess
import sys

import pytest

PUBLIC = [
    "fedcl",
    "fedcl.data",
    "fedcl.debiasing",
    "fedcl.errors",
    "fedcl.evaluation",
    "fedcl.harmonisation",
    "fedcl.losses",
    "fedcl.models",
    "fedcl.privacy",
]
