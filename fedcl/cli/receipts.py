"""`fedcl receipts verify | show | page`: what left a site, round by round."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedcl.errors import ReceiptError, RunError

app = typer.Typer(help="Verify or show what left a site.", no_args_is_help=True)
console = Console()

Where = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A receipts.jsonl, a site's folder, or a run's folder."),
]


@app.command()
def verify(path: Where) -> None:
    """Check that no receipt was altered, moved or lost; the exit code is 4 where one was."""
    from fedcl.receipts.log import receipts_at

    problems = []
    for one in receipts_at(path):
        kept = one.read()
        console.print(kept.says, soft_wrap=True, markup=False, highlight=False)
        if kept.problem is not None:
            problems.append(kept.problem)
    if problems:
        raise ReceiptError("\n".join(problems))


@app.command()
def show(
    path: Where,
    round_: Annotated[
        int | None, typer.Option("--round", min=0, help="Only this one; 0: the introduction.")
    ] = None,
) -> None:
    """Print what left each site, a table for each experiment."""
    from fedcl.receipts.log import receipts_at
    from fedcl.report.receipt_table import receipt_tables

    found = [one.read() for one in receipts_at(path)]
    tables = [table for kept in found for table in receipt_tables(kept, round_)]
    for table in tables:
        console.print(table)
    problems = [kept.problem for kept in found if kept.problem is not None]
    if problems:
        raise ReceiptError("\n".join(problems))
    if not tables:
        raise RunError(f"{path}: no receipt" + ("" if round_ is None else f" of round {round_}"))


@app.command()
def page(path: Where) -> None:
    """Write receipts.html beside each record: one page to read or to print."""
    from fedcl.receipts.log import receipts_at
    from fedcl.report.receipts import write_page

    problems = []
    for one in receipts_at(path):
        kept = one.read()
        console.print(f"Page: {write_page(kept)}", soft_wrap=True, markup=False, highlight=False)
        if kept.problem is not None:
            problems.append(kept.problem)
    if problems:
        raise ReceiptError("\n".join(problems))
