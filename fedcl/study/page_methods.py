"""Writes a study's methods in words, as a paper states them."""

from fedcl.config.experiment import Config
from fedcl.config.loading import parse
from fedcl.study.results import StudyResults

_REFERENCES = (
    "Challenge probes and score: Dufumier et al., NeuroImage 2022, "
    "doi:10.1016/j.neuroimage.2022.119637.",
    "Losses: Barbano et al., ISBI 2023 (L_exp), Dufumier et al., MICCAI 2021 (y-aware).",
    "Federation: McMahan et al., AISTATS 2017 (FedAvg), on Flower.",
)


def methods(results: StudyResults) -> list[str]:
    """Return the paragraphs of the methods."""
    config = parse(results.arms[0].config, source="the first arm")
    seeds = ", ".join(str(seed) for seed in results.seeds)
    interval = (
        "Student's t interval" if results.interval == "t" else "percentile bootstrap interval"
    )
    paragraphs = [
        f"Each arm was trained with {_count(len(results.seeds), 'seed')} ({seeds}) on "
        f"{_range(results.training_participants)} participants of "
        f"{_range(results.training_sites)} training sites; "
        f"{_training(config)}.",
        "The encoder was then frozen. Age was predicted by ridge regression and the site by "
        "logistic regression, as in the OpenBHB challenge (penalties by 5-fold cross-validation on "
        "training participants, no scaling of features), from the representation (the encoder's "
        "output) and from the embedding (the projector's). A second probe of the site is a network "
        "with one hidden layer. The variance of the features that the site explains is adjusted "
        "for age (natural spline), sex and the number of sites. Brain-age gaps are predicted less "
        "true age; their dependence on age is corrected by a line fitted on cross-validated "
        "predictions of training participants.",
        f"Values are means over seeds with a 95 % {interval}; differences are paired by seed. The "
        "intervals tell how much training varies, not how another sample of participants would. "
        "With a single seed there is no interval. No correction for the number of comparisons.",
        " ".join(_REFERENCES),
    ]
    folds = results.study_settings.get("cross_validation")
    if folds:
        paragraphs.insert(
            1,
            f"Sites were left out in turn ({folds['folds']} groups, drawn anew for every seed), "
            "and each value is the mean over the groups.",
        )
    return paragraphs


def _training(config: Config) -> str:
    local = config.local
    rounds, epochs = _count(config.federation.rounds, "round"), _count(local.epochs, "local epoch")
    return (
        f"the first arm has {rounds} of {epochs}, batches of "
        f"{local.batch_size} participants, {local.optimizer.kind} with learning rate "
        f"{local.optimizer.learning_rate:g}, encoder {config.encoder.kind} and an embedding of "
        f"{config.projector.dim} dimensions; what an arm changes stands in its configuration below"
    )


def _count(value: int, what: str) -> str:
    return f"{value} {what}{'' if value == 1 else 's'}"


def _range(values: tuple[int, ...]) -> str:
    if not values:
        return "no"
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
