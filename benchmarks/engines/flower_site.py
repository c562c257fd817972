"""A site under Flower's engine: its ClientApp, importable by Ray's processes."""

import functools
import os
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from engines.age_network import AgeNetwork
from engines.local_steps import one_thread, train
from engines.task import Site, Task

TASK = "BENCHMARK_TASK"
"""Name of the environment variable that holds the task's folder."""

app = ClientApp()


@app.train()
def on_train(message: Message, context: Context) -> Message:
    """Train one local round."""
    task, network = _kept()
    site = _site(int(context.node_config["partition-id"]))
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    number = int(message.content["config"]["server-round"])
    train(network, site, round_number=number, learning_rate=task.settings.learning_rate)
    metrics = MetricRecord({"num-examples": len(site)})
    content = RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@functools.cache
def _kept() -> tuple[Task, AgeNetwork]:
    """Return task and network, made once per process, since building one costs more than a step."""
    one_thread()
    task = Task(Path(os.environ[TASK]))
    return task, AgeNetwork(task.settings.width)


@functools.cache
def _site(number: int) -> Site:
    return _kept()[0].site(number)
