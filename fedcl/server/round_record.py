"""What happened in a round, site by site: the line of rounds.jsonl."""

import time
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field

from flwr.app import RecordDict

from fedcl.config.federation import Federation
from fedcl.errors import RoundError
from fedcl.messages.releases import (
    MomentShare,
    PrivateMomentShare,
    SumOffer,
    TermSum,
    Update,
)
from fedcl.run_folder.rounds_file import (
    RoundLine,
    SiteLine,
    term_counts,
    term_means,
    term_skips,
)
from fedcl.server.progress_file import ProgressFile
from fedcl.wire.records import moments_bytes, payload_bytes

NO_ANSWER = "no answer in time"


@dataclass
class _SiteEntry:
    """What is known of one site so far; it ends as a `SiteLine`."""

    participants: int = 0
    seconds: float | None = None
    bytes: int = 0
    terms: Mapping[str, TermSum] = field(default_factory=dict)
    steps: int | None = None
    rejected: str | None = NO_ANSWER
    change: float | None = None
    left: str | None = None

    def line(self) -> SiteLine:
        return SiteLine(
            participants=self.participants,
            seconds=self.seconds,
            bytes=self.bytes,
            terms=term_means(self.terms),
            counts=term_counts(self.terms),
            skipped=term_skips(self.terms),
            steps=self.steps,
            rejected=self.rejected,
            change=self.change,
            left=self.left,
        )


class RoundRecord:
    """A round being written down; every asked site has an entry, silent until it answers.

    Attributes:
        number: The round's number, from 1.
        asked: The labels of the sites that take part.
    """

    def __init__(self, number: int, asked: tuple[str, ...], now: ProgressFile) -> None:
        self.number = number
        self.asked = asked
        self._now = now
        self._started = time.perf_counter()
        self._sites = {label: _SiteEntry() for label in asked}
        self._sent_bytes = 0
        self._messages = 0
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
        entry = _SiteEntry(bytes=received_bytes, rejected=rejected, change=change)
        if update is not None:
            entry.participants = update.participants
            entry.seconds = round(update.seconds, 3)
            entry.terms = update.terms
            entry.steps = update.steps
        self._sites[site] = entry
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
        self._sites[site].bytes += received_bytes

    def admit(self, site: str) -> None:
        """Note that a site has entered a secure sum."""
        self._sites[site].rejected = None

    def leave_out(self, site: str, why: str = NO_ANSWER) -> None:
        """Note why a site's part is not in a secure sum."""
        self._sites[site].rejected = why
        self._now.judge(site, why)

    def lose(self, site: str, why: str = NO_ANSWER) -> None:
        """Note why a site said no more when its part was already in a secure sum."""
        self._sites[site].left = why

    def enter_part(self, offer: SumOffer) -> None:
        """Note the work behind a part of the sum of updates."""
        entry = self._sites[offer.site]
        entry.participants = offer.participants
        entry.seconds = round(offer.seconds, 3)
        entry.steps = offer.steps

    def enter_moment_words(self, *, nbytes: int, seconds: float = 0.0) -> None:
        """Note moments that came as words of a secure sum, and the time behind them."""
        self._moments_bytes += nbytes
        self._moments_seconds += seconds

    def enter_terms(self, terms: dict[str, TermSum]) -> None:
        """Note the terms of the objective that a secure sum has opened."""
        self._terms = terms

    def sending(self, message: RecordDict) -> None:
        """Note what the server sends to a site."""
        self._messages += 1
        self._sent_bytes += payload_bytes(message)
        self._moments_bytes += moments_bytes(message)

    def begin_step(self) -> None:
        """A step that all sites take together begins; each is silent until it answers."""
        for entry in self._sites.values():
            entry.rejected = NO_ANSWER

    def enter_step(
        self,
        site: str,
        *,
        participants: int,
        seconds: float,
        terms: Mapping[str, TermSum] | None = None,
    ) -> None:
        """Note a site's valid answer to a step; seconds, steps and terms add up over the round."""
        entry = self._sites[site]
        entry.rejected = None
        entry.participants = participants
        entry.seconds = round((entry.seconds or 0.0) + seconds, 3)
        entry.steps = (entry.steps or 0) + 1
        before = entry.terms
        entry.terms = {**before} | {
            name: before[name] + term if name in before else term
            for name, term in (terms or {}).items()
        }

    def settle(self) -> None:
        """Show how the round ended for each site: those that were silent too."""
        for site, entry in self._sites.items():
            self._now.judge(site, entry.rejected)
        self._now.write()

    def require_quorum(
        self, federation: Federation, *, step: int | None = None, left: Sized | None = None
    ) -> None:
        """Stop a round, or one step of it, with too few valid answers.

        Args:
            federation: Federation section of the experiment.
            step: Number of the step in the round; None for the round.
            left: The sites that have not failed; None counts those that have answered validly.

        Raises:
            RoundError: how many there are, and why the others are not.
        """
        valid = sum(entry.rejected is None for entry in self._sites.values())
        valid = valid if left is None else len(left)
        where = f"round {self.number}" + (f", step {step}" if step else "")
        self._require(federation, valid, where)

    def require_moments(self, federation: Federation, valid: int) -> None:
        """Stop a round whose moments too few sites gave.

        Raises:
            RoundError: how many there are, and why the others are not.
        """
        self._require(federation, valid, f"round {self.number}, moments")

    def _require(self, federation: Federation, valid: int, where: str) -> None:
        needed = max(federation.min_sites, federation.quorum * len(self.asked))
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
            if entry.rejected is not None:
                groups.setdefault(entry.rejected, []).append(site)
        return " ".join(f"{why}: site {', '.join(sites)}." for why, sites in groups.items())

    def line(self) -> RoundLine:
        """Return the round's line; its loss is the mean over all participants, None if private."""
        return RoundLine(
            round=self.number,
            seconds=round(time.perf_counter() - self._started, 3),
            loss=self._loss(),
            bytes=self._earlier_bytes + sum(entry.bytes for entry in self._sites.values()),
            sent_bytes=self._sent_bytes,
            messages=self._messages,
            moments_bytes=self._moments_bytes,
            moments_seconds=round(self._moments_seconds, 3),
            terms=term_means(self._terms) if self._terms else None,
            counts=term_counts(self._terms) if self._terms else None,
            skipped=term_skips(self._terms) if self._terms else None,
            sites={label: entry.line() for label, entry in self._sites.items()},
        )

    def _loss(self) -> float | None:
        if "loss" in self._terms:
            return self._terms["loss"].mean
        valid = [entry for entry in self._sites.values() if entry.rejected is None]
        losses = [entry.terms["loss"] for entry in valid if entry.terms]
        everybody = sum(loss.count for loss in losses)
        return sum(loss.mean * loss.count for loss in losses) / everybody if everybody else None
