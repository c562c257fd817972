"""What a release says beside its arrays: the wire sends it, and a receipt lists it."""

from fedcl.header import Header
from fedcl.release import (
    GradientShare,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
    Update,
)
from fedcl.sum_messages import answer_header


def release_header(release: Release) -> Header:
    """Return the header of a release."""
    match release:
        case Introduction():
            return {
                "kind": "introduction",
                "site": release.site,
                "participants": release.participants,
                "shape": list(release.shape),
                "feature_count": release.feature_sums.count if release.feature_sums else 0,
            }
        case MomentShare():
            return {
                "kind": "moments",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case PrivateMomentShare():
            return {
                "kind": "private moments",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case GradientShare():
            return {
                "kind": "gradient",
                "site": release.site,
                "round": release.round,
                "step": release.step,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case Update():
            return {
                "kind": "update",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "terms": list(release.terms),
                "totals": [term.total for term in release.terms.values()],
                "counts": [term.count for term in release.terms.values()],
                "skipped": [term.skipped for term in release.terms.values()],
                "steps": release.steps,
                "seconds": release.seconds,
            }
        case Refusal():
            return {"kind": "refusal", "site": release.site, "reason": release.reason}
        case _:
            return answer_header(release)
