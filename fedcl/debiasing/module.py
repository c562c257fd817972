"""What all debiasing terms share as modules of a training loop.

A module holds the settings of a debiasing term, so that it computes what the same term of a YAML
computes.
"""

from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fedcl.config.debiasing import DEBIASING
from fedcl.config.faults import problems_of
from fedcl.config.kernels import is_binary
from fedcl.debiasing.dispatch import debias_of_views, own_settings
from fedcl.kernels.label_kernels import LabelKernel
from fedcl.kernels.labels import Labels, named_labels
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.terms import mean_over_counted


class DebiasingTerm(nn.Module):
    """A debiasing term, called as `term(vectors, labels, bias)`.

    Attributes:
        name: Name of the term in a configuration.
    """

    name: ClassVar[str]

    def __init__(self, kernel: LabelKernel | None, **parameters: Any) -> None:
        super().__init__()
        section = DEBIASING[self.name]
        has_none = kernel is None and section.record.sees == "rows"
        if not has_none and not isinstance(kernel, LabelKernel):
            raise ValueError(
                f"kernel must be one of fedcl.kernels, such as Discrete(); got {kernel!r}"
            )
        if section.record.needs_classes and kernel and not is_binary(kernel.section()):
            raise ValueError(
                f"{type(self).__name__} needs classes: the kernel Discrete (or a Product of them)"
            )
        self.kernel = kernel
        shared = {"name": self.name, "weight": 1.0, "against": "bias", "vectors": "embedding"}
        try:
            self._settings = section.model_validate({**shared, **parameters})
        except ValidationError as error:
            raise ValueError(problems_of(error, section)) from None

    def forward(self, vectors: Tensor, labels: Labels | None, bias: Tensor) -> Tensor:
        """Return the term of a batch; its parts, such as both sides of FairKL, are added.

        Args:
            vectors: Embeddings or representations, shape (n, d), or (n, views, d) with several
                views of each participant.
            labels: What the kernel compares: (n,), (n, k), or tensors by the covariates' names;
                None where the term has no kernel.
            bias: A code for each participant, such as the number of its site, shape (n,); NaN where
                it is not known.

        Returns:
            A scalar, 0 where the batch holds nothing to compare.

        Raises:
            ValueError: shapes that do not belong together, or labels that the kernel cannot
                compare.
        """
        if not isinstance(vectors, Tensor) or not isinstance(bias, Tensor):
            raise ValueError(
                "vectors and bias must be tensors; got "
                f"{type(vectors).__name__} and {type(bias).__name__}"
            )
        if not len(vectors):
            raise ValueError("vectors must hold at least one participant; got none")
        if vectors.ndim not in (2, 3):
            raise ValueError(
                f"vectors must be (n, d), or (n, views, d); got shape {tuple(vectors.shape)}"
            )
        views = vectors if vectors.ndim == 3 else vectors[:, None, :]
        if bias.shape != (len(views),):
            raise ValueError(
                f"bias must have a code for each of the {len(views)} participants, shape "
                f"({len(views)},); got {tuple(bias.shape)}"
            )
        codes = bias.to(views.device)
        codes = codes if codes.is_floating_point() else codes.float()
        with torch.autocast(views.device.type, enabled=False):
            positiveness = self._positiveness(views, labels)
            terms = debias_of_views(views, positiveness, codes, self._settings)
            total = (views * 0.0).sum()  # a sum of float16 values can overflow
            for one in terms.values():
                total = total + mean_over_counted(one)[0]
        return total

    def extra_repr(self) -> str:
        """Return the parameters as `repr` shows them."""
        shown: dict[str, object] = {} if self.kernel is None else {"kernel": self.kernel}
        shown |= own_settings(self._settings)
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())

    def _positiveness(self, views: Tensor, labels: Labels | None) -> Tensor:
        if self.kernel is None:
            dtype = torch.promote_types(views.dtype, torch.float32)
            return torch.eye(len(views), dtype=dtype, device=views.device)
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} compares labels by {self.kernel!r}; give a label for each "
                "participant"
            )
        named = named_labels(labels, views.device)
        if len(named) != len(views):
            raise ValueError(
                f"labels must have a row for each of the {len(views)} participants; got "
                f"{len(named)} rows"
            )
        return within_batch(named.known, self.kernel.section(named))
