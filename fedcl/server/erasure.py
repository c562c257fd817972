"""Asks the sites for sums after the last round, and fits the erasure of the site from them.

The erasure depends on a checkpoint only, so a run that was killed before the folder erasure/ was
written asks the sites again.
"""

import time
from dataclasses import dataclass

from flwr.serverapp import Grid

from fedcl.config.erasure import LeaceSettings
from fedcl.config.experiment import Config
from fedcl.erasure.choose import Erasure, fit_erasure
from fedcl.erasure.settings import settings_of
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import RoundError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import ErasureShare
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.run_folder.erasure_file import (
    ErasureRecord,
    erased_features,
    is_erased,
    write_erasure,
)
from fedcl.run_folder.folder import RunFolder
from fedcl.server.erasure_checks import erasure_problem
from fedcl.server.progress_file import ProgressFile
from fedcl.server.reply_checks import read_reply
from fedcl.server.roster import Roster
from fedcl.server.round import Round
from fedcl.server.round_record import NO_ANSWER, RoundRecord
from fedcl.wire.orders import ERASURE_SUMS


@dataclass(frozen=True)
class FederatedErasure:
    """The erasure of a run.

    Attributes:
        grid: Flower's grid, which carries messages to the sites' nodes.
        roster: The nodes of the sites, with their introductions.
        config: Configuration of the experiment.
        text: The configuration as the YAML text that sites receive.
        dims: Dimension of each kind of features.
        folder: Folder of the run, for its folder erasure/.
        now: File that shows the progress of the run.
    """

    grid: Grid
    roster: Roster
    config: Config
    text: str
    dims: dict[str, int]
    folder: RunFolder
    now: ProgressFile

    def after(self, checkpoint: Checkpoint) -> None:
        """Erase the site after the last round and write the result, if not done yet.

        Raises:
            RoundError: too few sites gave valid answers.
        """
        settings = self.config.erasure
        if settings is None or checkpoint.round != self.config.federation.rounds:
            return
        if not is_erased(self.folder.erasure, settings, checkpoint.round):
            self._erase(settings, checkpoint)

    def _erase(self, settings: LeaceSettings, checkpoint: Checkpoint) -> None:
        started = time.perf_counter()
        record = RoundRecord(checkpoint.round, self.roster.labels(), self.now)
        round_ = Round(
            self.grid, self.roster, self.config, record, frozenset(), usual=None, now=self.now
        )
        order = Instruction(checkpoint.round, self.text, checkpoint.weights)
        sums, rejected = self._ask(round_, settings, order)
        found = {kind: self._fit(sums, kind, settings) for kind in settings.features}
        line = record.line()
        record.settle()
        written = ErasureRecord.model_validate(
            {
                "version": 1,
                "round": checkpoint.round,
                "settings": settings,
                "features": {kind: erased_features(erasure) for kind, erasure in found.items()},
                "sites": rejected,
                "seconds": round(time.perf_counter() - started, 3),
                "bytes": line.bytes,
                "sent_bytes": line.sent_bytes,
            }
        )
        projections = {str(kind): erasure.projection for kind, erasure in found.items()}
        write_erasure(self.folder.erasure, written, projections)

    def _ask(
        self, round_: Round, settings: LeaceSettings, order: Instruction
    ) -> tuple[dict[str, dict[str, ErasureSums]], dict[str, str | None]]:
        """Return the valid sums of each site by kind of features, and why others are not used."""
        record = round_.record
        sums: dict[str, dict[str, ErasureSums]] = {}
        rejected: dict[str, str | None] = dict.fromkeys(record.asked, NO_ANSWER)
        for label, reply in round_.ask(record.asked, order, message_type=ERASURE_SUMS):
            answer = read_reply(reply)
            problem = erasure_problem(
                answer, round_.introduction(label), order, settings, dims=self.dims
            )
            rejected[label] = problem
            record.receive(label, answer.bytes)
            if problem is not None:
                record.leave_out(label, problem)
            elif isinstance(answer.release, ErasureShare):
                record.admit(label)
                sums[label] = answer.release.sums
        self._require_quorum(record, len(sums))
        return sums, rejected

    def _fit(
        self, sums: dict[str, dict[str, ErasureSums]], kind: str, settings: LeaceSettings
    ) -> Erasure:
        own = {site: by_kind[kind] for site, by_kind in sums.items()}
        return fit_erasure(own, settings_of(settings, seed=self.config.seed))

    def _require_quorum(self, record: RoundRecord, valid: int) -> None:
        federation, asked = self.config.federation, len(record.asked)
        needed = max(federation.min_sites, federation.quorum * asked)
        if valid < needed:
            raise RoundError(
                f"erasure after round {record.number}: {valid} valid answers from {asked} sites, "
                f"{needed:g} needed (federation.quorum, federation.min_sites). {record.reasons()} "
                "The run can be resumed, and asks again."
            )
