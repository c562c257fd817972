"""The metrics that a study's tables can show, each with its unit and its direction."""

from collections.abc import Callable
from dataclasses import dataclass

from fedcl.study.measured_file import Bias, FeatureMeasures, MeasuredRun, Spread

MetricValue = Callable[[MeasuredRun, FeatureMeasures], float | None]


@dataclass(frozen=True)
class Metric:
    """A metric, which is a column of the tables.

    Attributes:
        label: Heading of the column, without the unit.
        unit: Unit of the shown values, such as years or %; empty without a unit.
        says: Meaning of the metric in one sentence.
        value: Function of a run's measures and those on one kind of features; shares are in [0, 1].
        best: Whether "lower" or "higher" values are better; None if neither is.
        decimals: Number of decimals shown, at least 0.
    """

    label: str
    unit: str
    says: str
    value: MetricValue
    best: str | None = "lower"
    decimals: int = 2

    def shown(self, value: float) -> float:
        """Return a value in the metric's unit, which turns a share into per cent."""
        return 100 * value if self.unit == "%" else value


def _on(name: str) -> MetricValue:
    return lambda _, found: getattr(found, name)


def _spread(split: str, name: str) -> MetricValue:
    def value(_: MeasuredRun, found: FeatureMeasures) -> float | None:
        spread: Spread | None = getattr(found, split)
        return None if spread is None else getattr(spread, name)

    return value


def _bias(split: str, name: str) -> MetricValue:
    def value(_: MeasuredRun, found: FeatureMeasures) -> float | None:
        bias: Bias | None = getattr(found, f"bias_{split}")
        return None if bias is None else getattr(bias, name)

    return value


def _sums(name: str, less: str | None = None) -> MetricValue:
    def value(_: MeasuredRun, found: FeatureMeasures) -> float | None:
        if found.sums is None or getattr(found.sums, name) is None:
            return None
        measured: float = getattr(found.sums, name)
        if less is None:
            return measured
        pooled = getattr(found, less)
        return None if pooled is None else measured - pooled

    return value


def _attacked(name: str) -> MetricValue:
    return lambda run, _: None if run.attacked is None else getattr(run.attacked, name)


def _absolute(value: MetricValue) -> MetricValue:
    def size(run: MeasuredRun, found: FeatureMeasures) -> float | None:
        signed = value(run, found)
        return None if signed is None else abs(signed)

    return size


METRICS: dict[str, Metric] = {
    "mae_internal": Metric(
        "MAE, training sites",
        "years",
        "Mean absolute error of age on held-out participants of the sites trained on.",
        _on("mae_internal"),
    ),
    "mae_external": Metric(
        "MAE, unseen sites",
        "years",
        "Mean absolute error of age on sites that took no part in training.",
        _on("mae_external"),
    ),
    "site_accuracy": Metric(
        "site, linear",
        "%",
        "Balanced accuracy of a linear probe of the site on held-out participants.",
        _on("site_accuracy"),
        decimals=1,
    ),
    "site_accuracy_mlp": Metric(
        "site, MLP",
        "%",
        "Balanced accuracy of a probe of the site with a hidden layer.",
        _on("site_accuracy_mlp"),
        decimals=1,
    ),
    "site_variance": Metric(
        "site variance",
        "%",
        "Share of the features' variance left by age and sex that the site explains, adjusted for "
        "the number of sites; 0 where there is no site effect.",
        _on("site_variance"),
        decimals=1,
    ),
    "challenge_score": Metric(
        "L_c",
        "",
        "Challenge score of OpenBHB: MAE on unseen sites times linear site accuracy to the 0.3.",
        _on("challenge_score"),
    ),
    "worst_site": Metric(
        "worst site",
        "years",
        "Largest MAE of an unseen site.",
        _spread("external", "worst_site_mae"),
    ),
    "worst_training_site": Metric(
        "worst training site",
        "years",
        "Largest MAE of a training site's held-out participants.",
        _spread("internal", "worst_site_mae"),
    ),
    "site_gap": Metric(
        "site gap",
        "years",
        "MAE of the worst less that of the best unseen site.",
        _spread("external", "site_gap"),
    ),
    "sex_gap": Metric(
        "sex gap",
        "years",
        "Size of the difference in MAE between female and male participants of unseen sites.",
        _absolute(_spread("external", "sex_gap")),
    ),
    "age_gap": Metric(
        "age gap",
        "years",
        "MAE of the oldest less that of the youngest decade of unseen sites.",
        _spread("external", "age_gap"),
        best=None,
    ),
    "age_slope": Metric(
        "age slope",
        "",
        "Slope of predicted less true age on age, unseen sites: -1 where everybody is predicted "
        "the mean, 0 without age-dependent bias.",
        _bias("external", "slope"),
        best=None,
    ),
    "corrected_slope": Metric(
        "slope, corrected",
        "",
        "The same after the correction fitted on the training participants.",
        _bias("external", "corrected_slope"),
        best=None,
    ),
    "corrected_mae": Metric(
        "gap, corrected",
        "years",
        "Mean absolute brain-age gap after that correction, which uses the true age: no error of "
        "prediction.",
        _bias("external", "corrected_mae"),
        best=None,
    ),
    "sums_mae_external": Metric(
        "MAE, from sums",
        "years",
        "Age on unseen sites by a ridge fitted and tested from sums over sites alone.",
        _sums("mae_external"),
    ),
    "sums_difference": Metric(
        "sums less pooled",
        "years",
        "MAE on unseen sites from sums, less that of the pooled probe.",
        _sums("mae_external", "mae_external"),
        best=None,
        decimals=3,
    ),
    "sums_site_accuracy": Metric(
        "site, from sums",
        "%",
        "Balanced accuracy of linear discriminant analysis from sums over sites.",
        _sums("site_accuracy"),
        decimals=1,
    ),
    "membership_auc": Metric(
        "membership AUC",
        "",
        "How well an attack tells training from test participants; 0.5 is guessing.",
        _attacked("membership_auc"),
    ),
    "claimed_epsilon": Metric(
        "epsilon claimed",
        "",
        "What the ledger says of this run alone.",
        _attacked("claimed_epsilon"),
    ),
    "certified_epsilon": Metric(
        "epsilon certified",
        "",
        "The audit's lower bound; above the claim, the claim is false.",
        _attacked("certified_epsilon"),
    ),
    "seconds": Metric(
        "training",
        "s",
        "Seconds of training, on the machine of the run.",
        lambda run, _: run.seconds,
        decimals=0,
    ),
    "megabytes": Metric(
        "received a round",
        "MB",
        "What the server receives in a round, all sites together.",
        lambda run, _: run.bytes_per_round / 1e6,
        decimals=1,
    ),
    "messages": Metric(
        "messages a round",
        "",
        "Questions of the server in a round, all sites together; each has an answer.",
        lambda run, _: run.messages_per_round,
        decimals=0,
    ),
}
