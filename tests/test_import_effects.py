"""Importing fedcl changes nothing outside of fedcl: a user's process stays the user's."""

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
