"""A federation on one machine: Flower's real apps on an in-process Grid, deterministic."""

import shutil
from collections.abc import Callable

from flwr.app import Context, RecordDict

from fedcl.compute.device import choose_workers, keep_memory, use_threads
from fedcl.compute.shared_files import fresh_folder
from fedcl.compute.workers import worker_pool
from fedcl.config.experiment import Config
from fedcl.config.loading import resolved_text
from fedcl.experiment.client_call import RUN, SERVER_NODE
from fedcl.experiment.in_process_grid import InProcessGrid
from fedcl.experiment.worker_crew import Crew
from fedcl.receipts.log import put_aside_damaged
from fedcl.run_folder.folder import RunFolder
from fedcl.server.app import app as server_app


def simulate_federation(
    config: Config,
    *,
    sites: int,
    resume: bool,
    on_reply: Callable[[str, int], None] = lambda _round, _open: None,
) -> None:
    """Run the experiment's federation here, until its last round.

    Args:
        sites: How many sites the cohort has.
        resume: Whether to go on with the run in the folder.
        on_reply: Called with (round, messages still open) after each reply.

    Raises:
        FedclError: what the server app raises.
    """
    if resume:
        put_aside_damaged(RunFolder(config.output.path).sites)
    settings = {"config": resolved_text(config), "resume": resume}
    context = Context(RUN, SERVER_NODE, {}, RecordDict(), settings)
    use_threads(config.compute)
    keep_memory()
    workers = choose_workers(config.compute)
    if workers == 1:
        server_app(InProcessGrid(sites, on_reply=on_reply), context)
        return
    scratch = fresh_folder(config.output.path / ".handover")
    try:
        with worker_pool(workers) as pool:
            crew = Crew(pool, workers, scratch)
            server_app(InProcessGrid(sites, crew=crew, on_reply=on_reply), context)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
