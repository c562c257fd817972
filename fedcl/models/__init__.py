"""Encoders of 3D brain volumes and of tables of regional measures.

Each function builds one with fresh random weights; it maps a batch of participants to
representations, one row each. The other modules are the parts they are made of.
"""

from fedcl import public_names
from fedcl.models.alexnet import alexnet
from fedcl.models.densenet import densenet121, tiny_densenet
from fedcl.models.mlp import mlp
from fedcl.models.resnet import resnet18

__all__ = ["alexnet", "densenet121", "mlp", "resnet18", "tiny_densenet"]

__dir__ = public_names(__name__)
