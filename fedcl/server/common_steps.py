"""Takes optimiser steps on the sum of all sites' gradients, without privacy.

Chen et al., "Revisiting distributed synchronous SGD", 2016, https://arxiv.org/abs/1604.00981

At a step only the sites with a part in it are asked. A site that fails is left out for the rest of
the round, so that no step waits for it again.
"""

from collections import deque
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import nn

from fedcl.arrays.norms import norm_of
from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.messages.gradient_pieces import pieces_of
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import StepGradient
from fedcl.messages.step_releases import meets_the_step
from fedcl.messages.step_schedule import common_rule, parts_of_site, steps_of_pass
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.server.live_step import meet_in_step
from fedcl.server.outliers import UsualChange, outlier_problem
from fedcl.server.reply_checks import read_reply
from fedcl.server.round import Round
from fedcl.server.step_checks import step_problem
from fedcl.wire.orders import GRADIENT

_OPTIMIZER, _LENGTHS = "optimizer/", "lengths"

_WINDOW = 64
"""Number of the last gradients whose median length is the usual one."""


def common_steps(
    round_: Round, asked: tuple[str, ...], order: Instruction, checkpoint: Checkpoint
) -> tuple[State, State]:
    """Take the steps of a round; return the weights, and the optimiser's state with what is usual.

    Args:
        round_: The round under way, in whose record the steps are entered.
        asked: Labels of the sites that take part, in the order in which their gradients are added.
        order: Instruction of the round, with the weights that it begins with.
        checkpoint: The federation before the round.

    Raises:
        RoundError: too many sites failed.
    """
    config = round_.config
    steps = steps_of_pass(config, sum(round_.introduction(label).participants for label in asked))
    model = _Model(config, checkpoint, round_.trainable, round_number=order.round)
    usual = _UsualGradient(checkpoint, round_)
    left, like = list(asked), model.gradient_like()
    round_.record.require_quorum(config.federation, left=left)
    for epoch in range(config.local.epochs):
        for step, parts in enumerate(_schedule(round_, asked, epoch, steps)):
            question = replace(
                order,
                weights=model.weights(),
                held="",
                stretch=1 + epoch * steps + step,
                steps=steps,
            )
            parts = {label: size for label, size in parts.items() if label in left}
            failed: set[str] = set()
            if meets_the_step(config):
                question, met = meet_in_step(round_, question, parts)
                failed, parts = parts.keys() - met.keys(), met
            total = model.no_gradient()
            count, unheard = _add_up(round_, question, parts, usual, total, like)
            failed |= unheard
            if failed:
                left = [label for label in left if label not in failed]
                round_.record.require_quorum(config.federation, step=question.stretch, left=left)
            if count:
                model.step(count)
    return model.weights(), model.memory() | usual.memory()


def _schedule(
    round_: Round, asked: tuple[str, ...], epoch: int, steps: int
) -> list[dict[str, int]]:
    """Return the participants of each site in every step of a pass; absent where it has none."""
    by_step: list[dict[str, int]] = [{} for _ in range(steps)]
    for label in asked:
        for part in parts_of_site(
            round_.config,
            label,
            round_.introduction(label).participants,
            round_number=round_.record.number,
            epoch=epoch,
            steps=steps,
        ):
            by_step[part.step][label] = part.participants
    return by_step


def _add_up(
    round_: Round,
    order: Instruction,
    parts: dict[str, int],
    usual: "_UsualGradient",
    total: State,
    like: State,
) -> tuple[int, set[str]]:
    """Add a step's valid gradients to `total`, one in memory at a time.

    Return the number of their participants, and the sites without a valid one.
    """
    record, count, valid, silent = round_.record, 0, set(), set(parts)
    for label, reply in round_.ask(tuple(parts), order, message_type=GRADIENT):
        silent.remove(label)
        answer = read_reply(reply)
        record.receive(label, answer.bytes)
        introduction = round_.introduction(label)
        problem = step_problem(answer, introduction, order, part=parts[label], like=like)
        share = answer.release
        if problem is None and isinstance(share, StepGradient):
            problem = usual.problem(share)
        if problem is not None:
            record.leave_out(label, problem)
        elif isinstance(share, StepGradient):
            valid.add(label)
            count += share.part
            record.enter_step(
                label,
                participants=share.participants,
                seconds=share.seconds,
                terms=share.terms,
            )
            for name, array in total.items():
                np.add(array, share.gradients[name], out=array)
    for label in silent:
        record.leave_out(label)
    return count, parts.keys() - valid


class _Model:
    """All parameters one after another, in the order of their names, and their optimiser.

    An optimiser treats each value by itself, so that one long tensor takes the same steps.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: Checkpoint,
        trainable: frozenset[str],
        *,
        round_number: int,
    ) -> None:
        self._weights = checkpoint.weights
        # A checkpoint that was read has its tensors in another order.
        self._names = sorted(trainable & checkpoint.weights.keys())
        arrays = [checkpoint.weights[name].reshape(-1) for name in self._names]
        self._vector = nn.Parameter(torch.from_numpy(np.concatenate(arrays)))
        self._vector.grad = torch.zeros_like(self._vector)
        self._total = np.zeros(len(self._vector))
        optimizer = common_rule(config).optimizer or config.local.optimizer
        local = config.local.model_copy(update={"optimizer": optimizer})
        self._optimizer = build_optimizer(
            nn.ParameterList([self._vector]), local, round_number=round_number
        )
        state = {
            name.removeprefix(_OPTIMIZER): array
            for name, array in checkpoint.server.items()
            if name.startswith(_OPTIMIZER)
        }
        restore_optimizer(self._optimizer, state)

    def weights(self) -> State:
        """Return all travelling tensors, over the model's own memory."""
        shapes = {name: self._weights[name].shape for name in self._names}
        ends = np.cumsum([self._weights[name].size for name in self._names])
        parts = np.split(self._vector.detach().numpy(), ends[:-1])
        trained = zip(shapes.items(), parts, strict=True)
        return self._weights | {name: part.reshape(shape) for (name, shape), part in trained}

    def gradient_like(self) -> State:
        """Return arrays like those of a site's gradient."""
        return self._in_pieces(self._vector.detach().numpy())

    def no_gradient(self) -> State:
        """Return a sum of gradients that holds none yet, in float64, over memory that is reused."""
        self._total.fill(0)
        return self._in_pieces(self._total)

    def step(self, participants: int) -> None:
        """Step on the mean over the participants of a step, of the gradients added last."""
        np.divide(self._total, participants, out=self._total)
        assert self._vector.grad is not None
        np.copyto(self._vector.grad.numpy(), self._total, casting="same_kind")
        self._optimizer.step()

    def memory(self) -> State:
        """Return the optimiser's state."""
        state = optimizer_state(self._optimizer)
        return {_OPTIMIZER + name: array for name, array in state.items()}

    def _in_pieces(self, vector: np.ndarray) -> State:
        sizes = {name: self._weights[name].size for name in self._names}
        pieces = pieces_of({name: (size,) for name, size in sizes.items()})
        ends = np.cumsum([sum(sizes[name] for name in piece) for piece in pieces.values()])
        return dict(zip(pieces, np.split(vector, ends[:-1]), strict=True))


class _UsualGradient:
    """The lengths of the last valid gradients, over the participants of each."""

    def __init__(self, checkpoint: Checkpoint, round_: Round) -> None:
        before = checkpoint.server.get(_LENGTHS, np.empty(0))
        self._lengths = deque(before.tolist(), maxlen=_WINDOW)
        self._first = norm_of(
            array for name, array in checkpoint.weights.items() if name in round_.trainable
        )
        self._factor = round_.config.federation.outlier_factor

    def problem(self, share: StepGradient) -> str | None:
        """Return why a gradient is too long to be used, or None; then its length is remembered."""
        if self._factor is None:
            return None
        length = norm_of(share.gradients.values()) / share.part
        problem = outlier_problem(length, self._usual(), self._factor, what="mean gradient")
        if problem is None:
            self._lengths.append(length)
        return problem

    def _usual(self) -> UsualChange | None:
        if self._lengths and (middle := median(self._lengths)) > 0:
            return UsualChange(middle, "the median of the last gradients")
        return UsualChange(self._first, "the norm of the weights") if self._first else None

    def memory(self) -> State:
        """Return the lengths, for the next round."""
        return {_LENGTHS: np.array(self._lengths)} if self._lengths else {}
