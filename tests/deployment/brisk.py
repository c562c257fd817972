"""A lab that waits and starts less, for tests; measurements of a deployment take `Lab` itself."""

import os
from pathlib import Path

from tests.command import fedcl
from tests.deployment.lab import Lab

IN_PROCESSES = {"serve", "join", "run"}
"""Commands that start processes or wait for them; the others run in this one, which has torch."""
HURRY = Path(__file__).parent / "hurry"
"""A folder for the processes' module path; see the module in it."""


class BriskLab(Lab):
    """The same commands, and processes that pause for a fifth of a second at most."""

    def start(self) -> "BriskLab":
        """Start the server, then every site, side by side."""
        self.fedcl("serve", "lab", "--background")
        joining = [self.popen("join", str(self.settings(s)), "--background") for s in self.sites]
        for site, process in zip(self.sites, joining, strict=True):
            said, _ = process.communicate(timeout=self.longest_s)
            assert process.returncode == 0, f"{site} does not join: {said}"
        return self

    def fedcl(self, *words: str, check: bool = True) -> str:
        """Run a command as a person types it; return what it printed."""
        if words[0] in IN_PROCESSES:
            return super().fedcl(*words, check=check)
        done = fedcl(*words, cwd=self.folder)
        said = done.stdout + done.stderr
        if check and done.returncode:
            raise AssertionError(f"fedcl {' '.join(words)}: exit {done.returncode}\n{said}")
        return said

    def module_path(self, root: Path) -> str:
        """Return where the processes look for modules: first for what shortens their pauses."""
        return f"{HURRY}{os.pathsep}{root}"
