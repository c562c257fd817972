"""Refuses settings that have no meaning, or another one, where all sites take steps together."""

from fedcl.config.federation import CommonSteps, Federation, Local
from fedcl.config.network import EncoderSettings
from fedcl.config.objective import Objective
from fedcl.config.privacy import NoPrivacy, Privacy


def require_common_steps_apply(
    rule: CommonSteps,
    *,
    privacy: Privacy,
    encoder: EncoderSettings,
    objective: Objective,
    local: Local,
    federation: Federation,
    secure: bool,
) -> None:
    """Refuse settings that have no meaning, or another one, where all sites step together.

    Args:
        rule: Settings of the rule.
        privacy: Privacy section of the experiment.
        encoder: Encoder section of the experiment.
        objective: Objective section of the experiment.
        local: Local section of the experiment.
        federation: Federation section of the experiment.
        secure: Whether the sites' updates enter a secure sum.

    Raises:
        ValueError: a setting does not fit; the message names the key, the reason and what to use
            instead.
    """
    where = "federation.rule: common_steps"
    if not isinstance(privacy, NoPrivacy):
        raise ValueError(
            f"{where} sends gradients without noise, which privacy.mode: {privacy.mode} does not "
            "allow; use fedavg (participant_central takes every step together, with noise)"
        )
    if secure:
        raise ValueError(
            f"{where} asks at each step only the sites that have a part in it, too few for a "
            "secure sum at every step; use secure_sum: null, or another rule"
        )
    if federation.compression is not None:
        raise ValueError(
            f"federation.compression: encodes changes of the weights, and {where} sends "
            "gradients; use null"
        )
    if encoder.norm == "batch":
        raise ValueError(
            f"encoder.norm: batch takes statistics of a site's few participants in a step, which "
            f"{where} does not bring back; use group (or none for an mlp)"
        )
    if federation.weighting != "participants":
        raise ValueError(
            f"federation.weighting: {federation.weighting} weighs sites, and {where} gives every "
            "participant the same weight; use participants"
        )
    if local.keep_optimizer and not rule.local_rounds:
        raise ValueError(
            f"local.keep_optimizer: {where} has one optimiser, at the server, whose state always "
            "lives on; use false (true concerns its local_rounds)"
        )
    if rule.local_rounds >= federation.rounds:
        raise ValueError(
            f"federation.rule.local_rounds: {rule.local_rounds} is no less than the "
            f"{federation.rounds} federation.rounds, so that no step would be common; use fewer, "
            "or the rule fedavg"
        )
    moments = objective.moments
    if moments is not None and not moments.fresh:
        raise ValueError(
            f"objective.moments.fresh: false sends moments with the updates, which {where} has "
            "none of; use true"
        )
    if moments is not None and moments.candidates == "step" and rule.local_rounds:
        raise ValueError(
            "federation.rule.local_rounds: in a round of its own a site meets nobody's step, and "
            "objective.moments.candidates is step; use local_rounds: 0, or candidates: snapshot"
        )
    if moments is not None and moments.refresh_epochs is not None:
        raise ValueError(
            f"objective.moments.refresh_epochs: renews moments within a site's own training, and "
            f"{where} has none; use null, with fewer local.epochs and more federation.rounds"
        )
