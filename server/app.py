"""The Flower ServerApp of the coordinating institution: `flwr run .` loads it as `server.app:app`.

It runs the rounds of an experiment with the code in `fedcl.server`.
"""

from fedcl.server.app import app

__all__ = ["app"]
