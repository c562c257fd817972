"""Defines audit.json: the results of attacks on a finished run and the audit of its claim."""

from pathlib import Path
from typing import Literal

from rich.table import Table

from fedcl.config.section import Section
from fedcl.files.atomic import write_text


class Claim(Section):
    """The two-world audit of the sums that training released, at the site that spent most."""

    unit: Literal["participant", "participant_central", "site"]
    epsilon: float
    """Claimed epsilon: the cost of this run alone according to the ledger, at least 0."""
    ledger_epsilon: float
    """Epsilon of everything in that ledger, at least `epsilon`."""
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    """Number of noisy sums released, at least 1."""
    canary_distance: float
    """Largest change of a sum by the canary, in multiples of the clipping norm."""
    runs: int
    """Number of runs drawn in each of the two worlds, at least 4."""
    certified: float
    """Lower bound on epsilon that the attack certifies with the audit's confidence."""
    most_certified: float
    """Lower bound that a perfect attacker would certify with as many runs."""

    @property
    def rejected(self) -> bool:
        """Whether the certified bound exceeds the claim, which then cannot be true."""
        return self.certified > self.epsilon


class MembershipFound(Section):
    """A membership attack that tells training from test participants of the same sites."""

    score: Literal["loss", "alignment"]
    """Score by which they are told apart: a participant's loss, or the alignment of their views."""
    members: int
    others: int
    auc: float
    found_at_1_percent: float | None
    """Share of members found while at most 1 % of the others are accused, in [0, 1].

    It is null with fewer than 100 others."""
    found_at_01_percent: float | None
    """Share of members found while at most 0.1 % of the others are accused, in [0, 1].

    It is null with fewer than 1000 others."""


class InferenceFound(Section):
    """A linear probe for a label, fitted on training and tested on test participants."""

    of: Literal["site", "sex"]
    features: Literal["representation", "embedding"]
    tested: int
    balanced_accuracy: float
    chance: float


class Audit(Section):
    """The content of audit.json, without participant ids and counts below five participants."""

    version: Literal[1]
    name: str
    config_digest: str
    data_digest: str
    privacy: str
    """The privacy that the run promises, in words."""
    confidence: float
    claim: Claim | None
    """The audit of the privacy claim; null if the run claims nothing."""
    membership: MembershipFound | None
    """The membership attack; null with fewer than five members or others."""
    inference: tuple[InferenceFound, ...]


def write_audit(path: Path, audit: Audit) -> None:
    """Write audit.json atomically."""
    write_text(path, audit.model_dump_json(indent=2) + "\n")


def audit_table(audit: Audit) -> Table:
    """Return the audit as a table with a row for each attack beside the result of guessing."""
    table = Table(title=f"{audit.name}: audit", title_justify="left")
    for name in ("attack", "found", "guessing", "on"):
        table.add_column(name, justify="left" if name in ("attack", "on") else "right")
    claim, member = audit.claim, audit.membership
    if claim is not None:
        verdict = "REJECTED" if claim.rejected else "not rejected"
        table.add_row(
            f"epsilon of a {claim.unit}",
            f">= {claim.certified:.2f}",
            "0",
            f"claim {claim.epsilon:.2f}: {verdict}",
        )
    if member is not None:
        people = f"{member.members} members, {member.others} others"
        table.add_row(f"membership by {member.score}, AUC", f"{member.auc:.3f}", "0.500", people)
        for rate, found, needed in (
            ("1 %", member.found_at_1_percent, 100),
            ("0.1 %", member.found_at_01_percent, 1000),
        ):
            row = ("-", rate, f"needs {needed} others") if found is None else (f"{found:.1%}", rate)
            table.add_row(f"members found, {rate} accused", *row)
    for attack in audit.inference:
        table.add_row(
            f"{attack.of} from {attack.features}",
            f"{attack.balanced_accuracy:.1%}",
            f"{attack.chance:.1%}",
            f"{attack.tested} participants",
        )
    table.caption = f"{audit.confidence:.0%} confidence. An audit can reject a claim, not prove it."
    if claim is not None:
        table.caption += (
            f" Epsilon at delta {claim.delta:g} by {claim.runs} runs of each world, which certify "
            f"{claim.most_certified:.1f} at most."
        )
    table.caption_justify = "left"
    return table
