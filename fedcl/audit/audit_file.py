"""audit.json: what attacks on a finished run found, and whether its privacy claim stands."""

from pathlib import Path
from typing import Literal

from rich.table import Table

from fedcl.config.section import Section
from fedcl.files.atomic import write_text


class Claim(Section):
    """The two-world audit of what the training released, at the site that paid most."""

    unit: Literal["participant", "participant_central", "site"]
    epsilon: float
    """Claimed: what the ledger says of this run alone."""
    ledger_epsilon: float
    """Of everything in that ledger."""
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    """Noisy sums."""
    canary_distance: float
    """How far the canary moves a sum, in clipping norms."""
    runs: int
    """Of each world."""
    certified: float
    """Epsilon is at least that, with the audit's confidence."""
    most_certified: float
    """What so many runs could certify at most."""

    @property
    def rejected(self) -> bool:
        """Whether the claim cannot be true."""
        return self.certified > self.epsilon


class MembershipFound(Section):
    """Training participants against test participants of the same sites, by one threshold."""

    score: Literal["loss", "alignment"]
    """Of the participant's own objective, or of two of their augmented views."""
    members: int
    others: int
    auc: float
    found_at_1_percent: float | None
    """Share of members found where at most 1 % of the others are accused; null: fewer than 100."""
    found_at_01_percent: float | None
    """The same at 0.1 %; null: fewer than 1000."""


class InferenceFound(Section):
    """A linear probe, fitted on training and tested on test participants of the same sites."""

    of: Literal["site", "sex"]
    features: Literal["representation", "embedding"]
    tested: int
    balanced_accuracy: float
    chance: float


class Audit(Section):
    """All of audit.json. Nobody's id is in it, and no count of fewer than five participants."""

    version: Literal[1]
    name: str
    config_digest: str
    data_digest: str
    privacy: str
    """What is promised, in words."""
    confidence: float
    claim: Claim | None
    """null: nothing is claimed."""
    membership: MembershipFound | None
    """null: fewer than five of one kind."""
    inference: tuple[InferenceFound, ...]


def write_audit(path: Path, audit: Audit) -> None:
    """Write audit.json whole."""
    write_text(path, audit.model_dump_json(indent=2) + "\n")


def audit_table(audit: Audit) -> Table:
    """Return the audit as a table: a row for each attack, and what guessing gives beside it."""
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
    for one in audit.inference:
        table.add_row(
            f"{one.of} from {one.features}",
            f"{one.balanced_accuracy:.1%}",
            f"{one.chance:.1%}",
            f"{one.tested} participants",
        )
    table.caption = f"{audit.confidence:.0%} confidence. An audit can reject a claim, not prove it."
    if claim is not None:
        table.caption += (
            f" Epsilon at delta {claim.delta:g} by {claim.runs} runs of each world, which certify "
            f"{claim.most_certified:.1f} at most."
        )
    table.caption_justify = "left"
    return table
