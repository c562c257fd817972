"""`fedcl receipts verify | show | page`: checks or shows what left a site, round by round."""

from pathlib import Path
from typing import Annotated

import typer

from fedcl.cli.console import console
from fedcl.errors import ReceiptError, RunError

app = typer.Typer(help="Verify or show what left a site.", no_args_is_help=True)

Where = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A receipts.jsonl, a site's folder, or a run's folder."),
]


@app.command()
def verify(path: Where) -> None:
    """Check that no receipt was altered, moved or lost; the exit code is 4 where one was."""
    from fedcl.receipts.log import receipts_at

    problems = []
    for log in receipts_at(path):
        content = log.read()
        console.print(content.says, soft_wrap=True, markup=False, highlight=False)
        if content.problem is not None:
            problems.append(content.problem)
    if problems:
        raise ReceiptError("\n".join(problems))


@app.command()
def show(
    path: Where,
    round_: Annotated[
        int | None, typer.Option("--round", min=0, help="Only this round; 0 is the introduction.")
    ] = None,
) -> None:
    """Print a table for each experiment of what left each site."""
    from fedcl.receipts.log import receipts_at
    from fedcl.report.receipt_table import receipt_tables

    contents = [log.read() for log in receipts_at(path)]
    tables = [table for content in contents for table in receipt_tables(content, round_)]
    for table in tables:
        console.print(table)
    problems = [content.problem for content in contents if content.problem is not None]
    if problems:
        raise ReceiptError("\n".join(problems))
    if not tables:
        raise RunError(f"{path}: no receipt" + ("" if round_ is None else f" of round {round_}"))


@app.command()
def page(path: Where) -> None:
    """Write receipts.html beside each log of receipts, one page to read or to print."""
    from fedcl.receipts.log import receipts_at
    from fedcl.report.receipts import write_page

    problems = []
    for log in receipts_at(path):
        content = log.read()
        console.print(f"Page: {write_page(content)}", soft_wrap=True, markup=False, highlight=False)
        if content.problem is not None:
            problems.append(content.problem)
    if problems:
        raise ReceiptError("\n".join(problems))
