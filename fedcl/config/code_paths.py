"""Functions and classes that a record names by their path, so that reading it imports nothing.

A path is `module:name`, such as `fedcl.losses.l_exp:l_exp`. The configuration knows what each loss,
encoder and rule needs without importing torch; the code is loaded when it is first used.
"""

import importlib
import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@lru_cache
def load_code(path: str) -> Any:
    """Return the function or class that lies at `path`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def call(path: str, *arguments: Any, settings: Mapping[str, Any]) -> Any:
    """Call what lies at `path` with the arguments, and with the settings that it has names for.

    Args:
        path: Path of the function, written `module:name`.
        arguments: Positional arguments of the call, in order.
        settings: Values by name; those that are no parameter of the function are left out.
    """
    names = parameters(path)[len(arguments) :]
    chosen = {name: settings[name] for name in names if name in settings}
    return load_code(path)(*arguments, **chosen)


@lru_cache
def parameters(path: str) -> tuple[str, ...]:
    """Return the names of the parameters of what lies at `path`, in their order."""
    signature = inspect.signature(load_code(path))
    return tuple(p.name for p in signature.parameters.values() if p.kind in _BY_NAME)
