"""What leaves a site, as records and back."""

from flwr.app import ConfigRecord, RecordDict

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.errors import WireError
from fedcl.messages.headers import get, get_list
from fedcl.messages.release_headers import release_header
from fedcl.messages.releases import (
    GradientShare,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
    TermSum,
    Update,
    arrays_of,
    moments_of,
)
from fedcl.messages.secure_sum import read_answer
from fedcl.moments.sums import NodeSums
from fedcl.wire.evaluation import read_evaluation
from fedcl.wire.records import (
    MOMENT_ARRAYS,
    arrays_in,
    header_of,
    node_sums_in,
    private_sums_in,
    read_codec,
    record_of,
)


def encode_release(release: Release) -> RecordDict:
    """Return the record of a release."""
    moments = moments_of(release)
    return record_of(
        release_header(release), arrays_of(release), moments.arrays() if moments else None
    )


def decode_release(record: RecordDict) -> Release:
    """Read a release.

    Raises:
        WireError: what is missing or malformed.
    """
    header = header_of(record)
    site = get(header, "site", str)
    match header.get("kind"):
        case "refusal":
            return Refusal(site, get(header, "reason", str))
        case "introduction":
            arrays = arrays_in(record)
            sums = None
            if arrays:
                names = {"feature_total", "feature_squares"}
                if set(arrays) != names:
                    raise WireError(f"an introduction holds the arrays {sorted(names)} or none")
                sums = FeatureSums(
                    get(header, "feature_count", int),
                    arrays["feature_total"],
                    arrays["feature_squares"],
                )
            return Introduction(
                site=site,
                participants=get(header, "participants", int),
                shape=tuple(get_list(header, "shape", int)),
                feature_sums=sums,
            )
        case "moments":
            moments = _moments(record)
            if moments is None:
                raise WireError("the message carries no moments")
            return MomentShare(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                moments=moments,
                seconds=get(header, "seconds", float),
            )
        case "private moments":
            return PrivateMomentShare(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                moments=private_sums_in(arrays_in(record)),
                seconds=get(header, "seconds", float),
            )
        case "gradient":
            return GradientShare(
                site=site,
                round=get(header, "round", int),
                step=get(header, "step", int),
                participants=get(header, "participants", int),
                gradients=arrays_in(record),
                seconds=get(header, "seconds", float),
            )
        case "update":
            return Update(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                weights=arrays_in(record),
                terms=_terms(header),
                steps=get(header, "steps", int),
                seconds=get(header, "seconds", float),
                moments=_moments(record),
                change=read_codec(header, "change"),
            )
        case "evaluation sums" | "evaluation errors":
            return read_evaluation(header, arrays_in(record))
        case kind:
            words = arrays_in(record).get("words")
            answer = read_answer(str(kind), header, words)
            if answer is None:
                raise WireError(f"unknown kind of release: {kind!r}")
            return answer


def _terms(header: ConfigRecord) -> dict[str, TermSum]:
    names, totals = get_list(header, "terms", str), get_list(header, "totals", float)
    counts, skipped = get_list(header, "counts", int), get_list(header, "skipped", int)
    if not len(names) == len(totals) == len(counts) == len(skipped):
        raise WireError("terms: expected one total, count and number of skipped for each")
    sums = zip(totals, counts, skipped, strict=True)
    return {name: TermSum(*one) for name, one in zip(names, sums, strict=True)}


def _moments(record: RecordDict) -> NodeSums | None:
    if MOMENT_ARRAYS not in record.array_records:
        return None
    return node_sums_in(arrays_in(record, MOMENT_ARRAYS), "")
