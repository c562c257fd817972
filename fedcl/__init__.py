"""Train a brain-MRI encoder across hospitals without moving a scan.

    import fedcl

    config = fedcl.load_config("configs/demo.yaml", {"federation.rounds": 3})
    run = fedcl.simulate(config)
    run.results.evaluation.representation.mae_external
    encoder = fedcl.load_encoder("runs/demo")

The public interface is what `__all__` lists here and in `fedcl.models`, `fedcl.losses`,
`fedcl.debiasing`, `fedcl.kernels`, `fedcl.harmonisation`, `fedcl.evaluation`, `fedcl.data` and
`fedcl.privacy`; everything else is private and may change without notice. A name is imported when
it is first used, so that `import fedcl` is quick and imports nothing else.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "CodecError": "fedcl.errors",
    "ConfigError": "fedcl.errors",
    "DataError": "fedcl.errors",
    "FedclError": "fedcl.errors",
    "LimitError": "fedcl.errors",
    "PrivacyError": "fedcl.errors",
    "ReceiptError": "fedcl.errors",
    "RoundError": "fedcl.errors",
    "Run": "fedcl.experiment.api",
    "RunError": "fedcl.errors",
    "SecureSumError": "fedcl.errors",
    "WireError": "fedcl.errors",
    "evaluate": "fedcl.experiment.api",
    "load_config": "fedcl.config.overrides",
    "load_encoder": "fedcl.experiment.encoder",
    "load_run": "fedcl.experiment.api",
    "local_only": "fedcl.experiment.api",
    "pooled": "fedcl.experiment.api",
    "simulate": "fedcl.experiment.api",
}
"""The module that each public name is defined in."""

__all__ = [
    "CodecError",
    "ConfigError",
    "DataError",
    "FedclError",
    "LimitError",
    "PrivacyError",
    "ReceiptError",
    "RoundError",
    "Run",
    "RunError",
    "SecureSumError",
    "WireError",
    "__version__",
    "evaluate",
    "load_config",
    "load_encoder",
    "load_run",
    "local_only",
    "pooled",
    "simulate",
]

_PACKAGES = (
    "data",
    "debiasing",
    "evaluation",
    "harmonisation",
    "kernels",
    "losses",
    "models",
    "privacy",
)
"""Public packages, which `fedcl.NAME` imports too."""


def lazy_names(
    package: str, homes: Mapping[str, str], packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose names are imported at first use.

    Args:
        package: The package's full name.
        homes: The module that each public name is defined in.
        packages: Sub-packages that are imported as attributes are.
    """

    def get(name: str) -> object:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        if name in packages:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, public_names(package, packages)


def public_names(package: str, packages: tuple[str, ...] = ()) -> Callable[[], list[str]]:
    """Return `__dir__` of a package, which lists its public names and not what it imports.

    Args:
        package: The package's full name.
        packages: Sub-packages that are listed too.
    """

    def names() -> list[str]:
        module = import_module(package)
        special = (name for name in vars(module) if name[:2] == name[-2:] == "__")
        return sorted({*module.__all__, *packages, *special})

    return names


__getattr__, __dir__ = lazy_names(__name__, _HOMES, _PACKAGES)
