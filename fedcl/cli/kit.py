"""`fedcl kit new | request | approve | revoke | invite | renew | list`: admits sites.

The commands make and check certificates, invitations and keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedcl.cli.console import console
from fedcl.errors import RunError

app = typer.Typer(
    help="Set up a federation between institutions: certificates, invitations, keys.",
    no_args_is_help=True,
)

Server = Annotated[
    Path, typer.Argument(metavar="SERVER_FOLDER", help="What `fedcl kit new` wrote.")
]
SiteLabel = Annotated[str, typer.Argument(metavar="SITE", help="The site's label.")]


@app.command()
def new(
    file: Annotated[
        Path, typer.Argument(metavar="FEDERATION.yaml", help="The federation's settings.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Folder to make; by default named after the federation.")
    ] = None,
) -> None:
    """At the server: make the certificates and an invitation for each site."""
    from fedcl.kit.certificate_files import load_authority_certificate
    from fedcl.kit.fingerprint import certificate_fingerprint
    from fedcl.kit.opening import new_federation

    with _disk():
        files = new_federation(file, folder, _now())
    fingerprint = certificate_fingerprint(load_authority_certificate(files.authority))
    _say(
        f"Written: {files.path}\n"
        f"Authority: {fingerprint}\n"
        f"Invitations: {files.invitations}. Give each to its site alone, in a way that nobody else "
        "reads; the site compares the authority's fingerprint by telephone.\n"
        f"Private: {files.authority_key}. It is needed for `fedcl kit invite` and `renew` only; "
        "keep it off this machine in between."
    )


@app.command()
def request(
    invitation: Annotated[
        Path, typer.Argument(metavar="INVITATION", help="The federation's invitation, a YAML file.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="The site's folder; by default named after the site.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder of participants, whose kind is recognised.")
    ] = None,
) -> None:
    """At a site: make its own key, folder and request; the same invitation again keeps the key."""
    from fedcl.data.check.recognise import recognise
    from fedcl.kit.joining import prepare_request

    recognised = None if data is None else recognise(data.absolute(), one_site=True)
    with _disk():
        prepared = prepare_request(invitation, folder, _now(), recognised)
    files = prepared.folder
    if prepared.former_key is not None:
        _say(
            f"Kept: {prepared.former_key}, the key of the invitation before. If the node must "
            f"start before the new key is approved, start it with that one as {files.key}; delete "
            "it afterwards."
        )
    _say(
        f"Private: {files.key}. It never leaves this machine.\n"
        f"To send to the server's institution: {files.request}\n"
        "Compare by telephone:\n"
        f"  this site's key  {prepared.request.fingerprint}\n"
        f"  the authority    {prepared.request.authority}\n"
        f"Settings: {files.settings}. Say there where the data are, and what may leave the site; "
        f"then look at them: fedcl check {files.settings}"
    )
    for note in prepared.notes:
        _say(f"Note: {note}")


@app.command()
def approve(
    folder: Server,
    file: Annotated[
        Path, typer.Argument(metavar="REQUEST", help="The site's request, a YAML file.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="The fingerprint has been compared already.")
    ] = False,
) -> None:
    """At the server: approve a site's key after its fingerprint was compared by telephone."""
    from fedcl.kit import admission

    verified = admission.verify_request(folder, file, _now())
    from_site = verified.request
    if verified.already is None:
        _say(f"Site {from_site.site} asks to join with the key\n  {from_site.fingerprint}")
        if not yes:
            _confirm("Has the site read out this very fingerprint by telephone?")
    with _disk():
        approved = admission.approve(folder, verified, _now())
    state = "approved" if verified.already is None else "was approved before"
    _say(f"Site {approved.site}: {state}, until {approved.expires:%Y-%m-%d}.")


@app.command()
def revoke(folder: Server, site: SiteLabel) -> None:
    """At the server: revoke a site's key and its open invitation."""
    from fedcl.kit import admission

    with _disk():
        admission.revoke(folder, site, _now())
    _say(f"Site {site}: revoked. It comes back with `fedcl kit invite` and a new key.")


@app.command()
def invite(folder: Server, site: SiteLabel) -> None:
    """At the server: invite a site again, or one that was added to the settings."""
    from fedcl.kit import opening

    with _disk():
        file = opening.invite(folder, site, _now())
    _say(f"Written: {file}. Give it to the site alone; an older one that was not used is void.")


@app.command()
def renew(folder: Server) -> None:
    """At the server: make its next certificate for the names in the settings."""
    from fedcl.kit import opening

    with _disk():
        until = opening.renew(folder, _now())
    _say(f"The server's certificate is valid until {until:%Y-%m-%d}; restart `fedcl serve`.")


@app.command("list")
def list_(folder: Server) -> None:
    """At the server: list the state of the certificates and of each site."""
    from fedcl.kit.certificate_problem import server_certificate_problem
    from fedcl.kit.overview import overview

    now = _now()
    lines = overview(folder, now)
    table = Table()
    table.add_column()
    table.add_column("state")
    table.add_column("fingerprint", width=19)  # four groups of digits per line, easy to read out
    table.add_column("since", no_wrap=True)
    table.add_column("until", no_wrap=True)
    table.add_column("days left", justify="right")
    for line in lines:
        days = line.days_left(now)
        cells = [line.what, line.state, line.fingerprint or ""]
        cells += [f"{time:%Y-%m-%d}" if time else "" for time in (line.since, line.until)]
        table.add_row(*(Text(cell) for cell in cells), "" if days is None else str(days))
    console.print(table)
    problem = server_certificate_problem(folder, now)
    if problem is not None:
        _say(f"Note: {problem}")


@contextmanager
def _disk() -> Iterator[None]:
    """Turn an error of the disk into one message."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be written or read: {error.strerror}") from None


def _confirm(question: str) -> None:
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        _say("\nNot approved; nothing was written.")
        raise
    if not agreed:
        _say("Not approved; nothing was written.")
        raise typer.Exit(1)


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _now() -> datetime:
    return datetime.now(UTC)
