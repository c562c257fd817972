"""The sites that have introduced themselves and can train, and why the others cannot."""

import time
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.config.federation import Federation
from fedcl.errors import RoundError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction
from fedcl.server.exchange import POLL_S, ask
from fedcl.server.progress_file import ProgressFile
from fedcl.server.reply_checks import introduction_problem, read_reply
from fedcl.site_labels import site_order
from fedcl.wire.orders import INTRODUCE, encode_instruction

_AGAIN_S = 20.0
"""Seconds after which a site that refused or was silent is asked again: it may be mended."""


@dataclass(frozen=True)
class IdleNode:
    """A node whose site does not train.

    Attributes:
        why: The reason, for messages.
        for_good: Whether asking again is pointless.
        since: When the node was asked; seconds of the monotonic clock.
    """

    why: str
    for_good: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether it is time to ask the site again."""
        return not self.for_good and time.monotonic() - self.since > _AGAIN_S


@dataclass
class Roster:
    """The sites of a federation; it grows when nodes appear and shrinks when they go.

    Attributes:
        nodes: Node id of each site that can train.
        introductions: The introduction of each of these sites, and of those that only evaluate.
        idle: Nodes whose site does not train, by node id.
        only_evaluates: Node id of each site without training participants.
    """

    nodes: dict[str, int] = field(default_factory=dict)
    introductions: dict[str, Introduction] = field(default_factory=dict)
    idle: dict[int, IdleNode] = field(default_factory=dict)
    only_evaluates: dict[str, int] = field(default_factory=dict)

    def node(self, label: str) -> int:
        """Return the node of a site, whether it trains or only evaluates."""
        return self.nodes[label] if label in self.nodes else self.only_evaluates[label]

    def witnesses(self) -> tuple[str, ...]:
        """Return the sites that only evaluate, in the order of their labels."""
        return tuple(sorted(self.only_evaluates, key=site_order))

    def labels(self) -> tuple[str, ...]:
        """Return the training sites in the order of their labels."""
        return tuple(sorted(self.nodes, key=site_order))

    def refresh(
        self, grid: Grid, federation: Federation, config_text: str, now: ProgressFile
    ) -> None:
        """Forget the nodes that went; ask the new ones, and those that may have come round."""

        def hear(_: int, reply: Message) -> None:
            answer = read_reply(reply)
            if answer.release is not None:
                now.hear(answer.release.site, answer.bytes)

        present = set(grid.get_node_ids())
        self.idle = {n: idle for n, idle in self.idle.items() if n in present and not idle.is_over}
        for label in [label for label, node in self.nodes.items() if node not in present]:
            del self.nodes[label]
        self.only_evaluates = {s: n for s, n in self.only_evaluates.items() if n in present}
        fresh = sorted(present - set(self.nodes.values()) - self.idle.keys())
        self.idle |= {node: IdleNode("no answer to the first question") for node in fresh}
        record = encode_instruction(Instruction(0, config_text, {}))
        replies = ask(
            grid,
            [(node, record) for node in fresh],
            message_type=INTRODUCE,
            round_number=0,
            timeout_s=federation.answer_timeout_s,
            on_reply=hear,
            on_wait=now.write_if_due,
        )
        for position, reply in replies:
            answer = read_reply(reply)
            said, problem = answer.release, introduction_problem(answer)
            node = fresh[position]
            if problem is not None or not isinstance(said, Introduction):
                label = f"site {said.site}: " if said else ""
                self.idle[node] = IdleNode(
                    f"{label}{problem}", for_good=isinstance(said, Introduction)
                )
                if said is not None and problem is not None and said.site not in self.nodes:
                    now.judge(said.site, problem)
                if isinstance(said, Introduction) and said.participants == 0:
                    self._admit_witness(said, node)
            elif said.site in self.nodes:
                self.idle[node] = IdleNode(f"site {said.site}: another node answers for it")
            else:
                del self.idle[node]
                self.nodes[said.site] = node
                self.introductions[said.site] = said

    def _admit_witness(self, said: Introduction, node: int) -> None:
        """Remember a site without training participants: it may have test participants."""
        if said.site not in self.nodes and said.site not in self.only_evaluates:
            self.only_evaluates[said.site] = node
            self.introductions[said.site] = said

    def gather(
        self, grid: Grid, federation: Federation, config_text: str, now: ProgressFile
    ) -> None:
        """Wait for the first sites, no longer than `federation.answer_timeout_s`.

        Raises:
            RoundError: fewer than `federation.min_sites` can train.
        """
        deadline = time.monotonic() + federation.answer_timeout_s
        self.refresh(grid, federation, config_text, now)
        while len(self.nodes) < federation.min_sites and time.monotonic() < deadline:
            if set(grid.get_node_ids()) == set(self.nodes.values()) | self.idle.keys():
                now.write_if_due()
                time.sleep(POLL_S)
            self.refresh(grid, federation, config_text, now)
        if len(self.nodes) < federation.min_sites:
            why = "; ".join(idle.why for idle in self.idle.values())
            raise RoundError(
                f"{len(self.nodes)} sites can train, federation.min_sites asks for "
                f"{federation.min_sites}" + (f" ({why})" if why else "")
            )

    def common_shape(self) -> tuple[int, ...]:
        """Return the shape of every site's arrays.

        Raises:
            RoundError: they differ.
        """
        shapes: dict[tuple[int, ...], list[str]] = {}
        for label in self.labels():
            shapes.setdefault(self.introductions[label].shape, []).append(label)
        if len(shapes) > 1:
            listed = "; ".join(f"{shape}: sites {', '.join(s)}" for shape, s in shapes.items())
            raise RoundError(f"the sites' arrays differ in shape, so no encoder fits all: {listed}")
        return next(iter(shapes))

    def feature_sums(self) -> FeatureSums | None:
        """Return the sums of the sites' ROI tables; None for volumes."""
        sums = [self.introductions[label].feature_sums for label in self.labels()]
        return FeatureSums.add_all([s for s in sums if s is not None])
