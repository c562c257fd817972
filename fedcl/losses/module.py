"""What all losses of two views share as modules of a training loop.

A module holds a term of an objective, so that it computes what the same term of a YAML computes:
the checks, the function and the reduction are those of the configuration and of `fedcl.objective`.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from fedcl.config.faults import problems_of
from fedcl.config.loss_records import LOSSES
from fedcl.config.objective import Term
from fedcl.kernels.label_kernels import Discrete, LabelKernel
from fedcl.kernels.labels import Labels, named_labels
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.dispatch import Terms, loss_of_views
from fedcl.losses.terms import AnchorLoss, mean_over_counted

Reduction = Literal["mean", "sum", "none"]
"""mean over the anchors that count; sum over them; none: one value for each anchor."""


class TwoViewLoss(nn.Module):
    """A loss of two views of each participant, called as `loss(first, second, labels)`.

    Attributes:
        loss: Name of the loss in a configuration.
    """

    loss: ClassVar[str]

    def __init__(
        self,
        kernel: LabelKernel | None,
        *,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
        authors_variant: bool = False,
        **parameters: float | None,
    ) -> None:
        super().__init__()
        record = LOSSES[self.loss]
        has_none = kernel is None and (record.own_views_only or record.sees == "views")
        if not has_none and not isinstance(kernel, LabelKernel):
            raise ValueError(
                f"kernel must be one of fedcl.kernels, such as Gaussian(bandwidth=5.0); got "
                f"{kernel!r}"
            )
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be mean, sum or none; got {reduction!r}")
        if authors_variant and record.authors_variant is None:
            raise ValueError(f"{type(self).__name__} has no authors' variant: it is the formula")
        self.kernel = kernel
        self.reduction = reduction
        values: dict[str, Any] = {
            "loss": self.loss,
            "variant": "released" if authors_variant else "published",
            "temperature": temperature,
            "kernel": (kernel or Discrete()).section(),
            **parameters,
        }
        try:
            self._term = Term.model_validate(values)
        except ValidationError as error:
            raise ValueError(problems_of(error, Term)) from None

    def forward(self, first: Tensor, second: Tensor, labels: Labels | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            first: Embeddings of one view of each participant, shape (n, d), of any length > 0.
            second: Embeddings of another view of the same participants, in the same order.
            labels: What the kernel compares: (n,), (n, k), or tensors by the covariates' names;
                None where the loss has no kernel.

        Returns:
            A scalar; with reduction "none" shape (n, 2), a value for each view of each participant
            as an anchor, 0 where the loss has nothing to say of it.

        Raises:
            ValueError: shapes that do not belong together, or labels that the kernel cannot
                compare.
        """
        embeddings = _two_views(first, second)
        with torch.autocast(first.device.type, enabled=False):
            kernel, positiveness = self._compared(embeddings, labels)
            term = self._term.model_copy(update={"kernel": kernel})
            return self._reduced(loss_of_views(embeddings, positiveness, term), len(first))

    def extra_repr(self) -> str:
        """Return the parameters as `repr` shows them."""
        term = self._term
        shown: dict[str, object] = {} if self.kernel is None else {"kernel": self.kernel}
        names = ("temperature",) if term.record.has_temperature else ()
        shown |= {name: getattr(term, name) for name in (*names, *term.record.keys)}
        if term.authors_variant:
            shown["authors_variant"] = True
        shown["reduction"] = self.reduction
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())

    def _compared(self, embeddings: Tensor, labels: Labels | None) -> tuple[Any, Tensor]:
        """Return the kernel as a configuration writes it, and its values between participants."""
        participants = len(embeddings)
        if self.kernel is None:
            return self._term.kernel, torch.eye(
                participants, dtype=embeddings.dtype, device=embeddings.device
            )
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} compares labels by {self.kernel!r}; give a label for each "
                "participant"
            )
        named = named_labels(labels, embeddings.device)
        if len(named) != participants:
            raise ValueError(
                f"labels must have a row for each of the {participants} participants; got "
                f"{len(named)} rows"
            )
        kernel = self.kernel.section(named)
        return kernel, within_batch(named.known, kernel)

    def _reduced(self, terms: Terms, participants: int) -> Tensor:
        total: Tensor | None = None
        for one in terms.values():
            if self.reduction == "mean":
                value = mean_over_counted(one)[0]
            elif not isinstance(one, AnchorLoss):
                raise ValueError(
                    f"{type(self).__name__} is a statistic of the whole batch and has no value for "
                    f"each anchor; use reduction mean instead of {self.reduction}"
                )
            elif self.reduction == "sum":
                value = one.value.sum()
            else:
                value = one.value.view(participants, 2)
            total = value if total is None else total + value
        assert total is not None
        return total


def _two_views(first: Tensor, second: Tensor) -> Tensor:
    """Return unit vectors of shape (n, 2, d), in float32 at least."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        raise ValueError(
            "first and second must be tensors of embeddings; got "
            f"{type(first).__name__} and {type(second).__name__}"
        )
    if not len(first):
        raise ValueError("first and second must hold at least one participant; got none")
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            "first and second must be embeddings of two views of the same participants, both of "
            f"shape (n, d); got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    views = torch.stack([first, second], dim=1)
    return F.normalize(views.to(torch.promote_types(views.dtype, torch.float32)), dim=2)
