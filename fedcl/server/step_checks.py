"""Checks of what sites answer at a step that all take together; a bad one costs the round."""

import numpy as np

from fedcl.arrays.norms import norm_of
from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction, StepGradient, StepMoments, StepSlopes
from fedcl.moments.grid import node_count
from fedcl.moments.live import slope_shapes, steepest
from fedcl.moments.sums import node_shapes, unit_problem
from fedcl.server.reply_checks import (
    DecodedReply,
    arrays_problem,
    checked_release,
    tensors_problem,
    terms_problem,
)


def step_moments_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    *,
    part: int,
    config: Config,
) -> str | None:
    """Return why the sums over a site's part of a step cannot be added, or None.

    Args:
        answer: What the site answered.
        introduction: What the site introduced itself as.
        order: What the site was asked.
        part: Number of the site's participants in the step.
        config: Configuration of the experiment.
    """
    share = checked_release(answer, StepMoments, introduction, order)
    if isinstance(share, str):
        return share
    settings = config.objective.moments
    assert settings is not None
    shapes = node_shapes(node_count(settings), config.projector.dim)
    return (
        _other_step(share, order, part)
        or arrays_problem("moments", share.moments.arrays(), shapes, np.float64)
        or unit_problem(share.moments, part)
    )


def step_slopes_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    *,
    part: int,
    config: Config,
) -> str | None:
    """Return why the slopes of a site's part of a step cannot be added, or None.

    The arguments are those of `step_moments_problem`.
    """
    share = checked_release(answer, StepSlopes, introduction, order)
    if isinstance(share, str):
        return share
    settings = config.objective.moments
    assert settings is not None
    shapes = slope_shapes(settings, config.projector.dim)
    problem = _other_step(share, order, part) or arrays_problem(
        "slopes", share.slopes.arrays(), shapes, np.float64
    )
    if (
        problem is None
        and norm_of(share.slopes.arrays().values()) > steepest(config.objective) * part
    ):
        problem = f"slopes: longer than any loss of {part} participants has"
    return problem


def step_problem(
    answer: DecodedReply, introduction: Introduction, order: Instruction, *, part: int, like: State
) -> str | None:
    """Return why the gradient of a site's part of a step cannot be added, or None.

    Args:
        answer: What the site answered.
        introduction: What the site introduced itself as.
        order: What the site was asked.
        part: Number of the site's participants in the step.
        like: Arrays of the names, shapes and type that the gradient must have.
    """
    share = checked_release(answer, StepGradient, introduction, order)
    if isinstance(share, str):
        return share
    return (
        _other_step(share, order, part)
        or terms_problem(share.terms)
        or tensors_problem(share.gradients, like)
    )


def _other_step(
    share: StepMoments | StepSlopes | StepGradient, order: Instruction, part: int
) -> str | None:
    """Return why a release is not about a site's part of the step, or None."""
    if share.step != order.stretch:
        return f"answers step {share.step}"
    if not (np.isfinite(share.seconds) and share.seconds >= 0):
        return "its seconds are not a time"
    if share.part != part:
        return f"it is about {share.part} participants of the step, expected {part}"
    return None
