"""Evaluates an encoder from sums: asks the sites for sums, fits probes, asks for their errors.

The evaluation depends on a checkpoint only, so a run that was killed before evaluation.json was
written asks the sites again.
"""

import time
from dataclasses import dataclass, field, replace
from uuid import uuid4

from flwr.serverapp import Grid

from fedcl.config.evaluation import SumEvaluationSettings, due
from fedcl.config.experiment import Config
from fedcl.config.federation import FedBN
from fedcl.errors import DataError, RoundError
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors, SumProbes, fit_probes, summarise
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import EvaluationErrors, EvaluationSums
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.run_folder.erasure_file import read_projections
from fedcl.run_folder.evaluation_file import (
    RoundEvaluation,
    SiteReply,
    SumMeasures,
    add_round,
    is_measured,
    measures_of,
)
from fedcl.run_folder.folder import RunFolder
from fedcl.server.evaluation_checks import errors_problem, sums_problem
from fedcl.server.progress_file import ProgressFile
from fedcl.server.reply_checks import read_reply
from fedcl.server.roster import Roster
from fedcl.server.round import Round
from fedcl.server.round_record import NO_ANSWER, RoundRecord
from fedcl.site_labels import site_order
from fedcl.wire.orders import EVALUATION_ERRORS, EVALUATION_SUMS


@dataclass(frozen=True)
class Evaluations:
    """The evaluations of a run.

    Attributes:
        grid: Flower's grid, which carries messages to the sites' nodes.
        roster: The nodes of the sites, with their introductions.
        config: Configuration of the experiment.
        text: The configuration as the YAML text that sites receive.
        dims: Dimension of each kind of features.
        folder: Folder of the run, for evaluation.json.
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
        """Evaluate a checkpoint and write the result, if that is due and not done yet.

        Raises:
            RoundError: too few sites gave valid answers.
        """
        settings, number = self.config.evaluation.from_sums, checkpoint.round
        if settings is None or not due(settings, number, rounds=self.config.federation.rounds):
            return
        if not is_measured(self.folder.evaluation, settings, number):
            measured = self._measure(settings, checkpoint)
            add_round(self.folder.evaluation, measured)

    def _measure(self, settings: SumEvaluationSettings, checkpoint: Checkpoint) -> RoundEvaluation:
        training = self.roster.labels()
        # If normalisation layers stay at the sites, a site that never trained has none.
        layers_stay = isinstance(self.config.federation.rule, FedBN)
        witnesses = () if layers_stay else self.roster.witnesses()
        record = RoundRecord(checkpoint.round, (*training, *witnesses), self.now)
        round_ = Round(
            self.grid, self.roster, self.config, record, frozenset(), usual=None, now=self.now
        )
        asking = _Asking(round_, settings, dict.fromkeys(record.asked, NO_ANSWER))
        order = Instruction(
            checkpoint.round,
            self.text,
            checkpoint.weights,
            held=uuid4().hex,
            erasure=read_projections(self.folder.erasure, checkpoint.round),
        )
        asking.ask_sums(training, order, self.dims)
        try:
            probes = {str(kind): asking.probes(kind) for kind in settings.features}
        except DataError as error:
            return asking.result(problem=str(error), measures={})
        answered = tuple(asking.sums)
        # Sites that hold the weights come first, then the others; a question is encoded once.
        asking.ask_errors(answered, replace(order, weights={}, probes=probes))
        if witnesses:
            asking.ask_errors(witnesses, replace(order, held="", probes=probes))
        asking.require_quorum(answered)
        measures = {kind: asking.measures(kind, fitted) for kind, fitted in probes.items()}
        return asking.result(problem=None, measures=measures)


@dataclass
class _Asking:
    """An evaluation under way.

    Attributes:
        round_: The round, which asks the sites and records the bytes.
        settings: Settings of the evaluation from sums.
        rejected: Why each asked site's answer is not used; None if it is used.
        sums: Sums of each site that answered, by kind of features; empty with few participants.
        errors: Errors of each site that answered, by kind of features.
        started: Time at which the evaluation began, in seconds of `time.perf_counter`.
    """

    round_: Round
    settings: SumEvaluationSettings
    rejected: dict[str, str | None]
    sums: dict[str, dict[str, RidgeSums]] = field(default_factory=dict)
    errors: dict[str, dict[str, SiteErrors]] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def ask_sums(self, sites: tuple[str, ...], order: Instruction, dims: dict[str, int]) -> None:
        """Ask sites for sums over their training participants and collect the valid ones."""
        # The erasure of the site moves embeddings off the unit sphere.
        trained = self.round_.config.objective.uses_embedding
        unit_embeddings = trained and "embedding" not in order.erasure
        for label, reply in self.round_.ask(sites, order, message_type=EVALUATION_SUMS):
            answer, introduction = read_reply(reply), self.round_.introduction(label)
            problem = sums_problem(
                answer,
                introduction,
                order,
                self.settings,
                dims=dims,
                unit_embeddings=unit_embeddings,
            )
            self._judge(label, answer.bytes, problem)
            if problem is None and isinstance(answer.release, EvaluationSums):
                self.sums[label] = answer.release.sums
        self.require_quorum(sites)

    def probes(self, kind: str) -> SumProbes:
        """Return the probes on one kind of features.

        Raises:
            DataError: too few sites gave sums.
        """
        sums = {site: own[kind] for site, own in self.sums.items() if own}
        return fit_probes(sums, seed=self.round_.config.seed)

    def ask_errors(self, sites: tuple[str, ...], order: Instruction) -> None:
        """Ask sites for the errors on their test participants and collect the valid ones."""
        for label in sites:
            self.rejected[label] = NO_ANSWER
        for label, reply in self.round_.ask(sites, order, message_type=EVALUATION_ERRORS):
            answer, introduction = read_reply(reply), self.round_.introduction(label)
            problem = errors_problem(answer, introduction, order, self.settings)
            self._judge(label, answer.bytes, problem)
            if problem is None and isinstance(answer.release, EvaluationErrors):
                self.errors[label] = answer.release.errors

    def require_quorum(self, asked: tuple[str, ...]) -> None:
        """Stop if too few sites gave valid answers.

        Args:
            asked: Labels of the training sites that were asked.

        Raises:
            RoundError: too few answers are valid; the message says why the others are not.
        """
        federation = self.round_.config.federation
        valid = sum(self.rejected[label] is None for label in asked)
        needed = max(federation.min_sites, federation.quorum * len(asked))
        if valid < needed:
            raise RoundError(
                f"evaluation after round {self.round_.record.number}: {valid} valid answers from "
                f"{len(asked)} sites, {needed:g} needed (federation.quorum, "
                f"federation.min_sites). {self.round_.record.reasons()} The run can be resumed, "
                "and evaluates again."
            )

    def measures(self, kind: str, probes: SumProbes) -> SumMeasures:
        """Return the measures on one kind of features."""
        own = {site: errors[kind] for site, errors in self.errors.items()}
        fitted = [sums[kind].count for sums in self.sums.values() if sums]
        summary = summarise(probes.age.alpha, sum(fitted), own)
        dim = len(probes.age.coefficients)
        return measures_of(summary, own, dim=dim, fitted_sites=len(fitted))

    def result(self, *, problem: str | None, measures: dict[str, SumMeasures]) -> RoundEvaluation:
        """Return the evaluation as it is written to evaluation.json."""
        line, introductions = self.round_.record.line(), self.round_.roster.introductions
        self.round_.record.settle()
        sites = {
            label: SiteReply(
                participants=introductions[label].participants if self.sums.get(label) else 0,
                rejected=self.rejected[label],
            )
            for label in sorted(self.rejected, key=site_order)
        }
        return RoundEvaluation.model_validate(
            {
                "round": line.round,
                "min_cell": self.settings.min_cell,
                "features": self.settings.features,
                "seconds": round(time.perf_counter() - self.started, 3),
                "bytes": line.bytes,
                "sent_bytes": line.sent_bytes,
                "sites": sites,
                "problem": problem,
                "measures": measures,
            }
        )

    def _judge(self, label: str, received_bytes: int, problem: str | None) -> None:
        self.rejected[label] = problem
        self.round_.record.receive(label, received_bytes)
        if problem is None:
            self.round_.record.admit(label)
        else:
            self.round_.record.leave_out(label, problem)
