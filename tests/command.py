"""The command `fedcl`, run in this process or in one of its own."""

import contextlib
import gc
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from fedcl.cli.main import main


def fedcl(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command here, which spares the seconds of importing torch; return what it printed.

    An exception that `main` lets through is raised here, where a process would print its traceback.
    """
    typed = ["fedcl", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(cwd or Path.cwd()))
        stack.enter_context(mock.patch.object(sys, "argv", typed))
        stack.enter_context(mock.patch.object(gc, "freeze"))  # this process goes on
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
        except SystemExit as left:
            return subprocess.CompletedProcess(typed, left.code, out.getvalue(), err.getvalue())
    raise AssertionError("main() returned, where it ends the process")


def fedcl_process(
    *words: object, cwd: Path | None = None, before: Callable[[], None] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user does: a new process, which imports everything itself."""
    return subprocess.run(
        [sys.executable, "-m", "fedcl", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        check=False,
        preexec_fn=before,
    )
