"""The Flower ServerApp, which reads the experiment, opens the run folder and runs the rounds."""

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

import fedcl
from fedcl.config.experiment import Config
from fedcl.config.loading import load, parse
from fedcl.config.objective import require_comparable
from fedcl.errors import FedclError
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run configuration gives.

    Its keys are `config`, the experiment as YAML text or the name of a file in configs/; `resume`,
    to go on with the run in output.path; and `folder`, at which relative paths begin, by default
    the working directory.
    """
    if folder_of_paths := str(context.run_config.get("folder", "")):
        os.chdir(folder_of_paths)
    config = _experiment(str(context.run_config.get("config", "")))
    require_comparable(config.objective, federated=True)
    folder = RunFolder(config.output.path)
    if context.run_config.get("resume", False):
        folder.resume(config)
    else:
        folder.start(config)
    folder.stopped.unlink(missing_ok=True)
    try:
        run_rounds(grid, config, folder)
    except FedclError as error:
        folder.write_stopped(error)
        raise


def _experiment(text: str) -> Config:
    if "\n" in text:
        return parse(text, source="run configuration")
    configs = Path(fedcl.__file__).parent.parent / "configs"
    return load(configs / (text or "demo.yaml"))
