# What a type checker reads of fedcl/__init__.py, whose names are imported at first use.
from collections.abc import Callable, Mapping

from fedcl.config.overrides import load_config as load_config
from fedcl.errors import CodecError as CodecError
from fedcl.errors import ConfigError as ConfigError
from fedcl.errors import DataError as DataError
from fedcl.errors import FedclError as FedclError
from fedcl.errors import LimitError as LimitError
from fedcl.errors import PrivacyError as PrivacyError
from fedcl.errors import ReceiptError as ReceiptError
from fedcl.errors import RoundError as RoundError
from fedcl.errors import RunError as RunError
from fedcl.errors import SecureSumError as SecureSumError
from fedcl.errors import WireError as WireError
from fedcl.experiment.api import Run as Run
from fedcl.experiment.api import evaluate as evaluate
from fedcl.experiment.api import load_run as load_run
from fedcl.experiment.api import local_only as local_only
from fedcl.experiment.api import pooled as pooled
from fedcl.experiment.api import simulate as simulate
from fedcl.experiment.encoder import load_encoder as load_encoder

__version__: str

def lazy_names(
    package: str, homes: Mapping[str, str], packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]: ...
def public_names(package: str, packages: tuple[str, ...] = ()) -> Callable[[], list[str]]: ...
