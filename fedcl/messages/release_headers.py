"""What a release says beside its arrays: the wire sends it, and a receipt lists it."""

from fedcl.messages.headers import Header
from fedcl.messages.releases import (
    EvaluationErrors,
    EvaluationSums,
    GradientShare,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
    Update,
)
from fedcl.messages.secure_sum import answer_header


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
                **({} if release.change is None else {"change": release.change}),
            }
        case EvaluationSums():
            return {
                "kind": "evaluation sums",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "features": list(release.sums),
                "seconds": release.seconds,
            }
        case EvaluationErrors():
            said = list(release.errors.values())
            told = [one.recognised for one in said if one.recognised is not None]
            first = said[0].cells if said else {}
            return {
                "kind": "evaluation errors",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "features": list(release.errors),
                "cells": [cell.name for cell in first],
                "counts": [sums.count for sums in first.values()],
                "tested": told[0].count if told else 0,
                "recognised": [one.correct for one in told],
                "seconds": release.seconds,
            }
        case Refusal():
            return {"kind": "refusal", "site": release.site, "reason": release.reason}
        case _:
            return answer_header(release)
