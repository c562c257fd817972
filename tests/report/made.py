"""Results of runs that never were: three training sites, one unseen."""

from fedcl.run_folder.erasure_file import ErasedFeatures, ErasureEstimate
from fedcl.run_folder.results_file import (
    CohortInfo,
    CurvePoint,
    ErasureResults,
    EvaluationResults,
    MeasuredValue,
    Measures,
    Results,
    RunInfo,
    SiteRow,
    SkippedSite,
    TrainingInfo,
)

SIZES = {"north": 5, "south": 8, "12": 13}


def measured(value: float) -> MeasuredValue:
    return MeasuredValue(value=value, low=value * 0.8, high=value * 1.1)


def measures(*, site_probe: bool = True, external: bool = True) -> Measures:
    rows = [
        SiteRow(site=site, split="internal", participants=size, mae=0.3 * size, mean_error=-0.004)
        for site, size in SIZES.items()
    ]
    if external:
        rows.append(SiteRow(site="far", split="external", participants=4, mae=4.1, mean_error=-2.5))
    both = site_probe and external
    return Measures(
        dim=6,
        mae_internal=measured(2.94),
        mae_external=measured(3.43) if external else None,
        site_balanced_accuracy=measured(0.213) if site_probe else None,
        site_chance=1 / 3 if site_probe else None,
        site_from_age=0.064 if site_probe else None,
        challenge_score=measured(3.43 * 0.213**0.3) if both else None,
        median_internal=6.81,
        median_external=7.52 if external else None,
        per_site=tuple(rows),
    )


def results(kind: str = "simulate", *, name: str = "tiny", **found: bool) -> Results:
    local = kind == "local"
    if local:
        found = {"site_probe": False, **found}
    return Results(
        version=1,
        run=RunInfo(
            name=name,
            kind=kind,
            started="2025-05-04T09:12:44+00:00",
            seconds=75.0,
            fedcl_version="0.1.0",
            config_digest="c0ffee",
            data_digest="decade",
            privacy="none: the weights may tell about the participants behind them",
        ),
        cohort=CohortInfo(
            name="table",
            sites=5,
            training_sites=3,
            participants={"train": 20, "internal_test": 6, "external_test": 4},
            skipped=(SkippedSite(site="tiny & co", participants=2, reason="fewer than 3"),),
        ),
        training=TrainingInfo(
            encoder="mlp",
            parameters=1234,
            rounds=2,
            epochs=1,
            loss="l_exp",
            rule="fedavg",
            device="cpu",
            workers=1,
            seconds=12.0,
            seconds_per_round=6.0,
            bytes_per_round=1_234_000,
            messages_per_round=None if local else 6.0,
            peak_memory_mb=512,
        ),
        evaluation=EvaluationResults(representation=measures(**found), embedding=measures(**found)),
        curve=()
        if local
        else (
            CurvePoint(round=1, loss=2.5, mae_internal=None, mae_external=None),
            CurvePoint(round=2, loss=None, mae_internal=2.94, mae_external=3.43),
        ),
    )


def erased(kind: str = "simulate") -> Results:
    """Results of a run whose embedding has the site taken out."""
    found = results(kind)
    before = measures().model_copy(update={"mae_internal": measured(2.71)})
    estimate = ErasureEstimate(
        kept=1, rank=None, error=5.25, recognised=0.093, recognised_from_age=0.08
    )
    embedding = ErasedFeatures(
        dim=6,
        kept=1,
        rank=2,
        half_at=8.25,
        sites=3,
        participants=20,
        chosen=estimate,
        as_trained=estimate.model_copy(update={"kept": 0, "rank": 0, "recognised": 0.31}),
        compared=(estimate,),
    )
    told = ErasureResults(
        kind="leace",
        features={"embedding": embedding},
        as_trained=EvaluationResults(representation=measures(), embedding=before),
    )
    return found.model_copy(update={"erasure": told})
