"""What happened in a round, site by site: the line of rounds.jsonl."""

import time
from typing import Any

from flwr.app import RecordDict

from fedcl.config.experiment import Config
from fedcl.errors import RoundError
from fedcl.messages.releases import (
    MomentShare,
    PrivateMomentShare,
    SumOffer,
    TermSum,
    Update,
    terms_as_json,
)
from fedcl.server.progress_file import ProgressFile
from fedcl.wire.records import moments_bytes, payload_bytes

SILENT = "no answer in time"


class RoundRecord:
    """A round being written down; every asked site has an entry, silent until it answers.

    Attributes:
        number: Of the round.
        asked: The sites.
    """

    def __init__(self, number: int, asked: tuple[str, ...], now: ProgressFile) -> None:
        self.number = number
        self.asked = asked
        self._now = now
        self._started = time.perf_counter()
        self._sites: dict[str, dict[str, Any]] = {
            label: _entry(None, received_bytes=0, rejected=SILENT) for label in asked
        }
        self._sent_bytes = 0
        self._moments_bytes = 0
        self._earlier_bytes = 0
        self._moments_seconds = 0.0
        self._terms: dict[str, TermSum] = {}

    def enter(
        self,
        site: str,
        update: Update | None,
        *,
        received_bytes: int,
        rejected: str | None,
        change: float | None = None,
    ) -> None:
        """Note a site's answer, and the norm of its change of the weights where there is one."""
        if update is not None and update.moments is not None:
            self._moments_bytes += update.moments.nbytes
        self._sites[site] = _entry(update, received_bytes=received_bytes, rejected=rejected)
        if change is not None:
            self._sites[site]["change"] = change
        self._now.judge(site, rejected)

    def enter_moments(
        self, share: MomentShare | PrivateMomentShare, *, received_bytes: int
    ) -> None:
        """Note a share that came before the training."""
        self._earlier_bytes += received_bytes
        self._moments_bytes += share.moments.nbytes
        self._moments_seconds += share.seconds

    def receive(self, site: str, received_bytes: int) -> None:
        """Note the bytes of an answer, beside those before."""
        self._sites[site]["bytes"] += received_bytes

    def admit(self, site: str) -> None:
        """Note that a site has entered a secure sum."""
        self._sites[site]["rejected"] = None

    def leave_out(self, site: str, why: str = SILENT) -> None:
        """Note why a site's part is not in a secure sum."""
        self._sites[site]["rejected"] = why
        self._now.judge(site, why)

    def lose(self, site: str, why: str = SILENT) -> None:
        """Note why a site said no more when its part was already in a secure sum."""
        self._sites[site]["left"] = why

    def enter_part(self, offer: SumOffer) -> None:
        """Note the work behind a part of the sum of updates."""
        self._sites[offer.site] |= {
            "participants": offer.participants,
            "seconds": round(offer.seconds, 3),
            "steps": offer.steps,
        }

    def enter_moment_words(self, *, nbytes: int, seconds: float = 0.0) -> None:
        """Note moments that came as words of a secure sum, and the time behind them."""
        self._moments_bytes += nbytes
        self._moments_seconds += seconds

    def enter_terms(self, terms: dict[str, TermSum]) -> None:
        """Note the terms of the objective that a secure sum has opened."""
        self._terms = terms

    def sending(self, message: RecordDict) -> None:
        """Note what the server sends to a site."""
        self._sent_bytes += payload_bytes(message)
        self._moments_bytes += moments_bytes(message)

    def begin_step(self) -> None:
        """A step that all sites take together begins; each is silent until it answers."""
        for entry in self._sites.values():
            entry["rejected"] = SILENT

    def enter_step(self, site: str, *, participants: int, seconds: float) -> None:
        """Note a site's valid answer to a step; seconds and steps add up over the round."""
        entry = self._sites[site]
        entry["rejected"] = None
        entry["participants"] = participants
        entry["seconds"] = round((entry["seconds"] or 0.0) + seconds, 3)
        entry["steps"] = entry.get("steps", 0) + 1

    def settle(self) -> None:
        """Show how the round ended for each site: those that were silent too."""
        for site, entry in self._sites.items():
            self._now.judge(site, entry["rejected"])
        self._now.write()

    def require_quorum(self, config: Config, *, step: int | None = None) -> None:
        """Stop a round, or one step of it, with too few valid answers.

        Raises:
            RoundError: how many there are, and why the others are not.
        """
        valid = sum(entry["rejected"] is None for entry in self._sites.values())
        where = f"round {self.number}" + (f", step {step}" if step else "")
        self._require(config, valid, where)

    def require_moments(self, config: Config, valid: int) -> None:
        """Stop a round whose moments too few sites gave.

        Raises:
            RoundError: as of `require_quorum`.
        """
        self._require(config, valid, f"round {self.number}, moments")

    def _require(self, config: Config, valid: int, where: str) -> None:
        needed = max(config.federation.min_sites, config.federation.quorum * len(self.asked))
        if valid < needed:
            raise RoundError(
                f"{where}: {valid} valid updates from {len(self.asked)} sites, {needed:g} needed "
                f"(federation.quorum, federation.min_sites). {self.reasons()} The run can be "
                "resumed from the round before."
            )

    def reasons(self) -> str:
        """Return the sites that failed, grouped by why."""
        groups: dict[str, list[str]] = {}
        for site, entry in self._sites.items():
            if entry["rejected"] is not None:
                groups.setdefault(entry["rejected"], []).append(site)
        return " ".join(f"{why}: site {', '.join(sites)}." for why, sites in groups.items())

    def as_json(self) -> dict[str, Any]:
        """Return the round's line; its loss is the mean over all participants, None if private."""
        valid = [entry for entry in self._sites.values() if entry["rejected"] is None]
        told = [entry for entry in valid if entry["terms"]]
        everybody = sum(entry["counts"]["loss"] for entry in told)
        if "loss" in self._terms:
            loss = self._terms["loss"].mean
        elif everybody:
            loss = sum(e["terms"]["loss"] * e["counts"]["loss"] for e in told) / everybody
        else:
            loss = None
        return {
            "round": self.number,
            "seconds": round(time.perf_counter() - self._started, 3),
            "loss": loss,
            "bytes": self._earlier_bytes + sum(entry["bytes"] for entry in self._sites.values()),
            "sent_bytes": self._sent_bytes,
            "moments_bytes": self._moments_bytes,
            "moments_seconds": round(self._moments_seconds, 3),
            **(terms_as_json(self._terms) if self._terms else {}),
            "sites": self._sites,
        }


def _entry(update: Update | None, *, received_bytes: int, rejected: str | None) -> dict[str, Any]:
    if update is None:
        return {
            "participants": 0,
            "seconds": None,
            "bytes": received_bytes,
            "terms": {},
            "counts": {},
            "skipped": {},
            "rejected": rejected,
        }
    return {
        "participants": update.participants,
        "seconds": round(update.seconds, 3),
        "bytes": received_bytes,
        **terms_as_json(update.terms),
        "steps": update.steps,
        "rejected": rejected,
    }
