"""Receipts as the rows of a table: one for each release, or for all of a kind in a round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedcl.receipts.line import AddedNoise, EpsilonSpent, Receipt
from fedcl.report.number_text import NOTHING, byte_size, count


@dataclass(frozen=True)
class ReceiptRow:
    """The texts of a row on one or several releases of one kind in one round.

    Attributes:
        time: Time of the first, as the receipt says it.
        round: Number of the round.
        place: The round, and the step of a single release that has one.
        what: The kind, how many they are, the reason of a refusal.
        participants: Number of training participants behind them.
        arrays: Number of arrays in each.
        bytes: Bytes of all together.
        norm: L2 norm of all arrays of a release together; the least and the most of several.
        noise: SD of the site's noise.
        epsilon: Epsilon after the last that was charged.
    """

    time: str
    round: int
    place: str
    what: str
    participants: str
    arrays: str
    bytes: str
    norm: str
    noise: str
    epsilon: str


def rows_of(receipts: Sequence[Receipt], *, together: bool) -> Iterator[ReceiptRow]:
    """Yield the rows of the receipts of one experiment, in the order they came.

    Args:
        together: Whether the releases of a kind that follow each other in a round share a row,
            such as the steps that all sites take together, or the exchanges of their sums.
    """
    if not together:
        yield from (_row([one]) for one in receipts)
        return
    visit: dict[tuple[str, str | None], list[Receipt]] = {}
    before = None
    for one in receipts:
        if one.round != before:
            yield from map(_row, visit.values())
            visit, before = {}, one.round
        visit.setdefault((one.kind, one.reason), []).append(one)
    yield from map(_row, visit.values())


def experiment_of(receipts: Sequence[Receipt]) -> str:
    """Return the name of the experiment of some receipts, with the hash of its text."""
    text = receipts[0].config_sha256
    if text is None:
        return "messages that could not be read"
    names = [one.run for one in receipts if one.run is not None]
    return f"{names[0] if names else 'an experiment that this site did not open'} ({text[:16]})"


def epsilon_words(spent: EpsilonSpent | None) -> str:
    """Return the epsilon so far, as a bound where it is one."""
    if spent is None:
        return ""
    return f"{'≤ ' if spent.accountant == 'renyi' else ''}{spent.epsilon:.2f}"


def _row(same: Sequence[Receipt]) -> ReceiptRow:
    first = same[0]
    what = first.kind if len(same) == 1 else f"{first.kind} × {count(len(same))}"
    spent = [one.epsilon for one in same if one.epsilon is not None]
    return ReceiptRow(
        time=first.time,
        round=first.round,
        place=str(first.round) + (f".{first.step}" if len(same) == 1 and first.step else ""),
        what=what if first.reason is None else f"{what}: {first.reason}",
        participants=NOTHING if first.participants is None else count(first.participants),
        arrays=str(len(first.arrays)),
        bytes=byte_size(sum(one.bytes for one in same)),
        norm=_norm(same),
        noise=_noise(first.noise),
        epsilon=epsilon_words(spent[-1] if spent else None),
    )


def _norm(same: Sequence[Receipt]) -> str:
    if any(one.masked for one in same):
        return "masked"
    norms = [one.norm for one in same if one.norm is not None]
    if not norms:
        return NOTHING
    # NaN is shown wherever it is: it has no place between the others.
    least, most = (f"{end:.4g}" for end in (min(norms), max(norms)))
    if any(norm != norm for norm in norms):
        return "nan"
    return least if least == most else f"{least} to {most}"


def _noise(noise: AddedNoise | None) -> str:
    """Return the SD of a site's noise as a product, and whether it protects anybody."""
    if noise is None:
        return ""
    factors = [noise.multiplier, noise.sensitivity, *([] if noise.share == 1 else [noise.share])]
    text = " × ".join(f"{factor:.3g}" for factor in factors)
    return text if noise.private else f"{text}, NOT PRIVATE"
