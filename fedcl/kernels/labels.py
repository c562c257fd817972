"""Labels as a training loop has them: a tensor, or tensors by name; each covariate gets a name."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedcl.kernels.positiveness import Known

Labels = Tensor | Mapping[str, Tensor]
"""One number per participant, (n,); several, (n, k); or tensors by the covariates' names."""

_WHOLE = "labels"


@dataclass(frozen=True)
class NamedLabels:
    """The labels of a batch, each covariate by its name.

    Attributes:
        known: A tensor for each name, a row for each participant.
        columns: Names of those that hold one number per participant.
        tables: Names of those that hold more than one.
    """

    known: Known
    columns: tuple[str, ...]
    tables: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.known.values())))


def named_labels(labels: Labels, device: torch.device | None = None) -> NamedLabels:
    """Return labels by name, as floating point numbers.

    The columns of a tensor (n, k) are named `labels[0]`, `labels[1]` and so on.

    Args:
        labels: A tensor, or tensors by name.
        device: Where the result lies; None: where the labels are.

    Raises:
        ValueError: no labels, or tensors of different lengths.
    """
    if isinstance(labels, Mapping):
        known = {name: _floating(values, device) for name, values in labels.items()}
        lengths = {name: len(values) for name, values in known.items()}
        if not lengths or len(set(lengths.values())) > 1:
            raise ValueError(
                "labels must hold at least one covariate, all of them with a row for each "
                f"participant; got lengths {lengths}"
            )
    else:
        whole = _floating(labels, device)
        known = {_WHOLE: whole}
        if whole.ndim == 2:
            known |= {f"{_WHOLE}[{k}]": column for k, column in enumerate(whole.unbind(dim=1))}
    return NamedLabels(
        known,
        columns=tuple(name for name, values in known.items() if values.ndim == 1),
        tables=tuple(name for name, values in known.items() if values.ndim > 1),
    )


def _floating(values: Tensor, device: torch.device | None) -> Tensor:
    if not isinstance(values, Tensor) or values.ndim == 0:
        raise ValueError(
            "labels must be a tensor with a row for each participant, (n,) or (n, k), or a mapping "
            f"of names to such tensors; got {_described(values)}"
        )
    dtype = values.dtype if values.is_floating_point() else torch.float32
    return values.to(device=device, dtype=dtype)


def _described(values: object) -> str:
    return f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
