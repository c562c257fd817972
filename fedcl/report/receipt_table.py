"""The table that `fedcl receipts show` prints."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from fedcl.receipts.log import ReceiptLog
from fedcl.report.number_text import moment
from fedcl.report.receipt_rows import ReceiptRow, experiment_of, rows_of


def receipt_tables(log: ReceiptLog, round_number: int | None = None) -> Iterator[Table]:
    """Yield a table for each experiment: a row for each kind of release in a round.

    Args:
        round_number: The only round to show, with a row for each release; None: all of them.
    """
    for run in log.runs:
        chosen = [one for one in run if round_number in (None, one.round)]
        if chosen:
            rows = list(rows_of(chosen, together=round_number is None))
            since = moment(chosen[0].time)
            yield _table(f"{log.path}\n{experiment_of(run)}, from {since} UTC", rows)


def _table(title: str, rows: Sequence[ReceiptRow]) -> Table:
    table = Table(
        title=Text(title, style="table.title"),
        title_justify="left",
        box=box.SIMPLE,  # nine columns within 80 letters
        padding=0,
        show_edge=False,
        caption="n: training participants. Norm: L2, of all arrays of a release together.",
        caption_justify="left",
    )
    table.add_column("UTC", no_wrap=True)
    table.add_column("round", justify="right", no_wrap=True)
    table.add_column("what", min_width=len("introduction"))
    for name in ("n", "arrays", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("norm", justify="right", min_width=len("1.234e+05"))
    table.add_column("noise SD", justify="right", min_width=len("PRIVATE"))
    table.add_column("epsilon", justify="right", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        cells = (
            moment(row.time).partition("-")[2],  # the title tells the year
            row.place,
            row.what,
            row.participants,
            row.arrays,
            row.bytes,
            row.norm,
            row.noise,
            row.epsilon,
        )
        last = after is None or after.round != row.round
        table.add_row(*map(Text, cells), end_section=last)
    return table
