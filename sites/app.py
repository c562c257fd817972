"""The Flower ClientApp that runs at a site: `flwr run .` loads it as `sites.app:app`.

Each of its handlers is one call into `fedcl.sites`, where the code of this side is.
"""

from fedcl.sites.app_process import app

__all__ = ["app"]
