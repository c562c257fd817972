"""The round loop: ask the sites, check each answer, combine, checkpoint.

One answer is in memory at a time, but for the rules that need them all (median, trimmed mean).
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.config.federation import CommonSteps, Cyclic, Federation, site_weight
from fedcl.config.loading import resolved_text
from fedcl.config.network import EncoderSettings, MLPEncoder
from fedcl.config.privacy import CentralPrivacy, Privacy
from fedcl.errors import FedclError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Update
from fedcl.messages.summed_arrays import UPDATE_PURPOSE, expected_shapes, terms_in, weights_in
from fedcl.models.network import build_network
from fedcl.models.public_scale import read_public_scale
from fedcl.models.travelling import read_state, travelling_names
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.site_level import noisy_mean
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.run_folder.folder import RunFolder
from fedcl.seeds import numpy_generator
from fedcl.server import rules
from fedcl.server.central import steps_together
from fedcl.server.common_steps import common_steps
from fedcl.server.decoded_updates import with_weights
from fedcl.server.erasure import FederatedErasure
from fedcl.server.evaluation import Evaluations
from fedcl.server.moments import CollectedMoments, ask_for_moments
from fedcl.server.outliers import change_of, outlier_problem, usual_change
from fedcl.server.private_moments import release_moments
from fedcl.server.private_sum import pay_for_round
from fedcl.server.progress_file import ProgressFile
from fedcl.server.reply_checks import read_reply, travelling_moments_problem, update_problem
from fedcl.server.roster import Roster
from fedcl.server.round import Round
from fedcl.server.round_record import RoundRecord
from fedcl.server.secure_round import open_sum_of
from fedcl.wire.orders import TRAIN
from fedcl.wire.records import as_sent


def run_rounds(grid: Grid, config: Config, folder: RunFolder) -> None:
    """Run or resume the federation until its last round.

    Raises:
        RoundError: too few sites, or too few valid updates in a round.
    """
    text = resolved_text(config)
    roster, now = Roster(), ProgressFile(folder.now, config.federation.rounds)
    now.write()
    try:
        roster.gather(grid, config.federation, text, now)
        network = build_network(config, roster.common_shape(), seed=config.seed)
        trainable = frozenset(name for name, _ in network.named_parameters())
        dims = {
            "representation": network.encoder.width,
            "embedding": config.projector.dim if config.objective.uses_embedding else 1,
        }
        erasure = FederatedErasure(grid, roster, config, text, dims, folder, now)
        evaluations = Evaluations(grid, roster, config, text, dims, folder, now)

        checkpoint = folder.load()
        if checkpoint is None:
            scale = _feature_scale(roster, config.encoder)
            if scale is not None:
                network.set_feature_scale(*scale)
            start = read_state(network, travelling_names(network, config.federation))
            checkpoint = Checkpoint(0, start, {}, None)
            folder.save(checkpoint, keep_every=config.evaluation.every_rounds)
        else:
            folder.write_log(checkpoint)
        del network
        erasure.after(checkpoint)
        evaluations.after(checkpoint)

        for number in range(checkpoint.round + 1, config.federation.rounds + 1):
            now.begin(number)
            roster.refresh(grid, config.federation, text, now)
            asked = choose_sites(roster.labels(), config.federation, config.seed, number)
            usual = usual_change(checkpoint.record, checkpoint.weights, trainable)
            record = RoundRecord(number, asked, now)
            round_ = Round(grid, roster, config, record, trainable, usual, now)
            checkpoint = play(round_, checkpoint, text)
            checkpoint = replace(checkpoint, weights=as_sent(checkpoint.weights))
            folder.save(checkpoint, keep_every=config.evaluation.every_rounds)
            erasure.after(checkpoint)
            evaluations.after(checkpoint)
    except FedclError:
        now.write()
        raise
    now.done()


def play(round_: Round, checkpoint: Checkpoint, text: str) -> Checkpoint:
    """Play one round; return the federation after it.

    Args:
        checkpoint: The federation before the round.
        text: The experiment as the sites receive it, YAML.

    Raises:
        RoundError: too few valid updates.
    """
    config, record, trainable = round_.config, round_.record, round_.trainable
    number, asked, rule = record.number, record.asked, config.federation.rule
    no_memory: State = {}
    moments = config.objective.moments
    entropy = pay_for_round(config, number) if config.privacy.mode == "site" else None
    compression = config.federation.compression
    codec = "none" if compression is None else compression.weights
    order = Instruction(number, text, checkpoint.weights, shared=checkpoint.shared, codec=codec)
    private = config.objective.private_moments
    released = checkpoint.released
    if private is not None:
        order = replace(order, released=released)
        if private.released_in(number):
            released = release_moments(round_, order)
            order = replace(order, released=released)
    if moments is not None and moments.fresh and config.objective.compares_snapshots:
        for stretch in range(moments.stretches(config.local.epochs)):
            order = replace(order, stretch=stretch)
            asked, order = ask_for_moments(round_, asked, order)
        order = replace(order, stretch=order.stretch + 1)
    collected = CollectedMoments(config)
    if isinstance(config.privacy, CentralPrivacy):
        weights, server = steps_together(round_, order, checkpoint)
    elif isinstance(rule, CommonSteps) and number > rule.local_rounds:
        weights, server = common_steps(round_, asked, order, checkpoint)
    elif isinstance(rule, Cyclic):
        weights, server = tour(round_, order), no_memory
    elif config.secure_sum is not None:
        mean = summed_mean(round_, asked, order, collected)
        weights, server = step(mean, checkpoint, config.federation, trainable)
    else:
        valid = updates(round_, asked, order, collected)
        weights, server = combine(
            valid, checkpoint, config.federation, config.privacy, trainable, entropy
        )
    record.settle()
    record.require_quorum(config.federation)
    shared = collected.shared(number)
    return Checkpoint(number, weights, server, record.line(), shared, released)


def _feature_scale(
    roster: Roster, encoder: EncoderSettings
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what a ROI table is standardised by; None for volumes."""
    if isinstance(encoder, MLPEncoder) and encoder.public_scale is not None:
        return read_public_scale(encoder.public_scale, roster.common_shape()[0])
    sums = roster.feature_sums()
    return None if sums is None else sums.scale()


def choose_sites(
    labels: tuple[str, ...], federation: Federation, seed: int, round_number: int
) -> tuple[str, ...]:
    """Return the sites of a round in the order of their labels (in random order for `cyclic`)."""
    count = min(federation.sites_per_round or len(labels), len(labels))
    generator = numpy_generator(seed, "sites", round_number)
    drawn = generator.permutation(len(labels))[:count]
    if not isinstance(federation.rule, Cyclic):
        drawn.sort()
    return tuple(labels[i] for i in drawn)


def updates(
    round_: Round, asked: tuple[str, ...], order: Instruction, collected: CollectedMoments
) -> Iterator[tuple[State, float]]:
    """Yield (weights, aggregation weight) of each valid update, in the order of `asked`."""
    # Sites that hold the weights from an earlier message of this round are not sent them again.
    light = replace(order, weights={}) if order.held else order
    for label, reply in round_.ask(asked, light, message_type=TRAIN):
        update = accept(reply, round_, label, order)
        if update is not None:
            if update.moments is not None:
                collected.add(update.site, update.moments)
            weight = site_weight(update.participants, round_.config.federation.weighting)
            yield update.weights, weight


def summed_mean(
    round_: Round, asked: tuple[str, ...], order: Instruction, collected: CollectedMoments
) -> State:
    """Return the weighted mean of the sites' weights from their secure sum.

    Raises:
        RoundError: the sum does not open, or holds what cannot be.
    """
    config, record = round_.config, round_.record
    moments = config.objective.moments
    travelling = collected.shapes() if moments is not None and not moments.fresh else None
    opened = open_sum_of(
        round_,
        asked,
        replace(order, weights={}) if order.held else order,
        message_type=TRAIN,
        purpose=UPDATE_PURPOSE,
        expected=expected_shapes(order.weights, travelling),
    )
    if travelling is not None:
        collected.add_opened(opened, record, alone=False)
    for offer in opened.offers.values():
        record.enter_part(offer)
    record.enter_terms(terms_in(opened.arrays))
    weighting = config.federation.weighting
    total = sum(site_weight(o.participants, weighting) for o in opened.offers.values())
    sums = weights_in(opened.arrays)
    return {name: (array / total).astype(np.float32) for name, array in sums.items()}


def tour(round_: Round, order: Instruction) -> State:
    """Pass the weights from site to site; a site that fails is passed over."""
    weights = order.weights
    for label in round_.record.asked:
        step = Instruction(order.round, order.config_text, weights, codec=order.codec)
        for update, _ in updates(round_, (label,), step, CollectedMoments(round_.config)):
            weights = update
    return weights


def accept(reply: Message, round_: Round, site: str, order: Instruction) -> Update | None:
    """Check a reply, write it into the record, and return its update if it is valid."""
    config, introduction = round_.config, round_.introduction(site)
    answer = with_weights(read_reply(reply), order, config.federation.compression)
    private = config.privacy.mode == "participant"
    problem = update_problem(answer, introduction, order, private=private)
    update = answer.release if isinstance(answer.release, Update) and problem is None else None
    change = None
    if update is not None:
        change = change_of(order.weights, update.weights, round_.trainable)
        problem = travelling_moments_problem(update, config) or outlier_problem(
            change, round_.usual, config.federation.outlier_factor
        )
        update = update if problem is None else None
    round_.record.enter(site, update, received_bytes=answer.bytes, rejected=problem, change=change)
    return update


def combine(
    valid: Iterable[tuple[State, float]],
    checkpoint: Checkpoint,
    federation: Federation,
    privacy: Privacy,
    trainable: Set[str],
    entropy: Entropy | None = None,
) -> tuple[State, State]:
    """Apply the aggregation rule; return (next weights, the rule's own memory).

    Without any valid update both are empty, and the quorum stops the round. With entropy the mean
    is that of clipped changes, noised.
    """
    rule = federation.rule
    if rule.record.combines == "each":
        return rules.combined(valid, rule), {}
    if entropy is None:
        mean = rules.weighted_mean(valid)
    else:
        mean = noisy_mean(valid, checkpoint.weights, privacy, federation, trainable, entropy)
    return step(mean, checkpoint, federation, trainable)


def step(
    mean: State, checkpoint: Checkpoint, federation: Federation, trainable: Set[str]
) -> tuple[State, State]:
    """Go from the mean of the sites' weights to (next weights, the rule's own memory).

    Server optimisers step on trainable tensors only; running statistics and feature scales take
    the mean.
    """
    rule = federation.rule
    current = {name: checkpoint.weights[name] for name in mean if name in trainable}
    stepped, memory = rules.server_step(current, mean, checkpoint.server, rule)
    return {name: stepped.get(name, mean[name]) for name in mean}, memory
