"""`fedcl ledger show | verify`: prints or checks the privacy spent by this machine's sites."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedcl.cli.console import console
from fedcl.errors import PrivacyError

app = typer.Typer(help="Show or verify privacy ledgers.", no_args_is_help=True)
Folder = Annotated[
    Path, typer.Argument(metavar="LEDGERS", help="Folder named by privacy.ledger of experiments.")
]


@app.command()
def show(
    folder: Folder,
    delta: Annotated[
        float, typer.Option(help="Delta at which epsilon is computed, in (0, 1).")
    ] = 1e-5,
) -> None:
    """Print the epsilon that each site has spent, and on which runs."""
    from fedcl.privacy.ledger import ledgers

    if not 0 < delta < 1:
        raise PrivacyError(f"--delta: expected a number between 0 and 1, got {delta:g}")
    table = Table()
    table.add_column("site")
    table.add_column("runs")
    for name in ("charges", "noisy sums", f"epsilon at {delta:g}"):
        table.add_column(name, justify="right")
    for ledger in ledgers(folder):
        charges = ledger.charges()
        steps = sum(charge.cost.steps for charge in charges)
        runs = ", ".join(sorted({charge.run for charge in charges}))
        spent = f"{ledger.epsilon(delta=delta):.3f}"
        table.add_row(ledger.path.stem, runs, str(len(charges)), str(steps), spent)
    console.print(table)


@app.command()
def verify(folder: Folder) -> None:
    """Check that no ledger lost or changed a line; the exit code is 4 if one did."""
    from fedcl.privacy.ledger import ledgers

    problems, all_ledgers = [], ledgers(folder)
    for ledger in all_ledgers:
        try:
            count = len(ledger.charges())
        except PrivacyError as error:
            problems.append(str(error))
        else:
            console.print(f"{ledger.path}: {count} charges, whole", soft_wrap=True)
    if problems:
        raise PrivacyError("\n".join(problems))
    console.print(f"{len(all_ledgers)} ledgers are whole.")
