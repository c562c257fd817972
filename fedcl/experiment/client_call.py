"""One call of the ClientApp: a message to a site's node, and the content of its reply."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedcl.sites.app import app as site_app

RUN = 1
"""Flower's number for the run of a simulation."""
SERVER_NODE = 1
"""Flower's number for the node of its server; those of the sites follow."""


def call_client_app(
    message: Message,
    node: int,
    node_config: dict[str, int],
    client_app: ClientApp | None = None,
) -> RecordDict:
    """Return what a site's node answers.

    Args:
        message: From the server.
        node: Flower's number for the node.
        node_config: Which partition the node is, and of how many.
        client_app: Answers in place of fedcl's own.
    """
    context = Context(RUN, node, node_config, RecordDict(), {})
    return (client_app or site_app)(message, context).content
