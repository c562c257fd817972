"""`fedcl audit RUN`: attacks a finished run and audits its privacy claim."""

from pathlib import Path

from rich.console import Console

from fedcl.audit.audit_file import audit_table
from fedcl.audit.run import audit_run
from fedcl.cli.progress import steps
from fedcl.errors import PrivacyError


def run_audit(path: Path, console: Console, *, runs: int) -> None:
    """Audit a run, write audit.json and print it.

    Raises:
        PrivacyError: the claim is rejected; audit.json is written and printed nevertheless.
        FedclError: the folder holds no run that can be audited.
    """
    with steps(console) as bars:
        audit = audit_run(path, runs=runs, progress=bars)
    console.print(audit_table(audit))
    if audit.claim is None:
        console.print("This run claims no privacy: attacks only, no claim to audit.")
    if audit.privacy.startswith("NOT PRIVATE"):
        console.print("privacy.test_seed was set: the claim is for who does not know it.")
    console.print(f"Written: {path / 'audit.json'}", soft_wrap=True)
    claim = audit.claim
    if claim is not None and claim.rejected:
        raise PrivacyError(
            f"{path}: claimed epsilon {claim.epsilon:.2f} at delta {claim.delta:g}, and "
            f"{claim.runs} runs of each world certify at least {claim.certified:.2f}: the claim is "
            "false; do not release the weights, and report this as a bug"
        )
