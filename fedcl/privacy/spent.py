"""What the participants behind a ledger have paid so far."""

from pathlib import Path

from fedcl.errors import PrivacyError
from fedcl.privacy.ledger import Ledger


def epsilon(ledger: str | Path, *, delta: float) -> float:
    """Return the epsilon spent according to a ledger, over all its rounds and runs.

    Args:
        ledger: A site's ledger, a file that ends in `.jsonl` in the folder `privacy.ledger` of an
            experiment.
        delta: The probability that the promise does not hold, in (0, 1).

    Returns:
        Epsilon at this delta, >= 0, participants added or removed.

    Raises:
        PrivacyError: There is no such ledger; it is damaged, cut or altered; or delta is no
            probability.

    Example:
        >>> from fedcl.privacy import epsilon
        >>> epsilon("ledgers/site-12.jsonl", delta=1e-5)
        Traceback (most recent call last):
        fedcl.errors.PrivacyError: ledgers/site-12.jsonl: no such ledger; ...
    """
    path = Path(ledger)
    if path.suffix != ".jsonl":
        raise PrivacyError(
            f"{path}: not a ledger, a file that ends in .jsonl; name one in the folder "
            "privacy.ledger of an experiment"
        )
    if not 0 < delta < 1:
        raise PrivacyError(f"delta: {delta:g} is no probability; give a number between 0 and 1")
    # A mark without its ledger is a ledger that was removed: reading it says so.
    if not path.exists() and not path.with_suffix(".head").exists():
        raise PrivacyError(
            f"{path}: no such ledger; name a file in the folder privacy.ledger of an experiment"
        )
    return Ledger(path).epsilon(delta=delta)
