"""Settings that are allowed, and of which whoever reads the results should know."""

from fedcl.config.experiment import Config
from fedcl.config.harmonise import CombatSettings


def cautions(config: Config, *, federated: bool) -> tuple[str, ...]:
    """Return warnings, one line each, for what will be trained and evaluated.

    Args:
        config: Configuration of the experiment.
        federated: Whether every batch comes from one site and sites exchange moments.
    """
    collapse = _of_collapse(config) if federated else ()
    return (*_of_harmonisation(config.harmonise), *collapse)


def _of_harmonisation(settings: CombatSettings | None) -> tuple[str, ...]:
    if settings is None:
        return ()
    warnings = []
    if not settings.withholds_age:
        warnings.append(
            "harmonise.adjust: participant lets the age that is to be predicted enter the test "
            "participants' arrays; errors of age are too small."
        )
    if settings.unseen == "own":
        warnings.append(
            "harmonise.unseen: own has looked at all scans of the sites it was not fitted on, the "
            "test participants' included."
        )
    return tuple(warnings)


def _of_collapse(config: Config) -> tuple[str, ...]:
    task, moments = config.objective, config.objective.moments
    contrasts = any(not term.is_regression for _, term in task.terms)
    if config.is_table or not contrasts or task.private_moments is not None:
        return ()
    if moments is not None and moments.candidates == "step":
        return ()
    warnings = []
    if task.prototypes is None:
        warnings.append(
            "objective.moments: where a site's ages are narrow, its own pairs hardly repel, and a "
            "volume encoder may map everybody to one point; moments with candidates: step and the "
            "rule common_steps keep it from that."
        )
    if moments is not None and moments.participants not in (0, "auto"):
        warnings.append(
            "objective.moments.participants: moments of a volume encoder that is not trained yet "
            "pull all embeddings to one point; auto lets them count as they come to carry age."
        )
    return tuple(warnings)
