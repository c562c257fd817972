"""Finds out before a process starts why a certificate would fail at the next TLS handshake."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fedcl.errors import FedclError
from fedcl.kit.authority import alternative_names
from fedcl.kit.certificate_files import (
    load_authority_certificate,
    load_server_certificate,
    require_server_key,
)
from fedcl.kit.federation import load_federation
from fedcl.kit.folders import ServerFolder, SiteFolder


def server_certificate_problem(folder: Path, now: datetime) -> str | None:
    """Return a fault of a server folder's certificates with its remedy, or None without a fault."""
    files = ServerFolder(folder)
    renew = f"`fedcl kit renew {folder}` makes another"
    try:
        settings = load_federation(files.federation)
        authority = load_authority_certificate(files.authority)
    except FedclError as error:
        return str(error)
    too_late = "all sites need another federation: `fedcl kit new`"
    if problem := _time_problem(files.authority, authority, now, mend=too_late):
        return problem
    try:
        certificate = load_server_certificate(files)
        require_server_key(files, certificate)
    except FedclError as error:
        return f"{error}; {renew}"
    if problem := _time_problem(files.certificate, certificate, now, mend=renew):
        return problem
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return f"{files.certificate}: not made by {files.authority}; {renew}"
    lacking = [name for name in alternative_names(settings) if name not in _names(certificate)]
    if lacking:
        missing = ", ".join(str(name.value) for name in lacking)
        return f"{files.certificate}: not made for {missing} ({files.federation}); {renew}"
    return None


def site_certificate_problem(folder: Path, now: datetime) -> str | None:
    """Return the fault of the authority that a site trusts, or None without a fault."""
    path = SiteFolder(folder).authority
    mend = "ask the federation for an invitation to its next authority"
    try:
        return _time_problem(path, load_authority_certificate(path), now, mend=mend)
    except FedclError as error:
        return str(error)


def _time_problem(
    path: Path, certificate: x509.Certificate, now: datetime, *, mend: str
) -> str | None:
    if now >= certificate.not_valid_after_utc:
        return f"{path}: expired {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; {mend}"
    if now < certificate.not_valid_before_utc:
        return (
            f"{path}: valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and this "
            f"machine's clock says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC; set the clock"
        )
    return None


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    except x509.ExtensionNotFound:
        return []
