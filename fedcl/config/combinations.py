"""Refuses combinations of settings that would break a promise of privacy or of a secure sum."""

from fedcl.config.erasure import LeaceSettings
from fedcl.config.federation import RULES, FedAvg, Federation, Local, RuleRecord
from fedcl.config.network import EncoderSettings, MLPEncoder
from fedcl.config.objective import Objective
from fedcl.config.privacy import CentralPrivacy, NoPrivacy, Privacy, SitePrivacy
from fedcl.config.section import one_of


def require_privacy_is_true(
    privacy: Privacy,
    *,
    encoder: EncoderSettings,
    objective: Objective,
    local: Local,
    federation: Federation,
) -> None:
    """Refuse settings with which the reported epsilon would be wrong.

    Raises:
        ValueError: a setting breaks the bound; the message names the key, the reason and what to
            use instead.
    """
    if objective.private_moments is not None and isinstance(privacy, NoPrivacy | SitePrivacy):
        raise ValueError(
            "objective.private_moments: a release is paid for by the sites' ledgers, which "
            f"privacy.mode: {privacy.mode} has none of; use objective.moments, or "
            "participant or participant_central"
        )
    if isinstance(privacy, NoPrivacy):
        return
    if not isinstance(privacy, SitePrivacy) and not objective.decomposes:
        raise ValueError(
            f"privacy.mode: {privacy.mode} bounds what one participant changes, and this "
            "objective compares participants with each other: one of them changes everybody's "
            "gradient, which clipping each does not bound. Use objective.prototypes (fixed "
            "points along age), objective.private_moments or loss: l1, with moments: null; "
            "debias: [], or with private_moments fairkl_regression against the site"
        )
    if encoder.norm == "batch":
        raise ValueError(
            "encoder.norm: batch lets every participant change every other's output, and its "
            f"statistics leave the site; with privacy.mode: {privacy.mode} use group (or none "
            "for an mlp)"
        )
    if isinstance(encoder, MLPEncoder) and encoder.public_scale is None:
        raise ValueError(
            "encoder.public_scale: a table is standardised by the sites' sums, which are not "
            f"private; with privacy.mode: {privacy.mode} name a file with a published mean and "
            "standard deviation of every feature"
        )
    if isinstance(privacy, SitePrivacy):
        _require_site_privacy_is_true(objective, federation)
    if isinstance(privacy, CentralPrivacy):
        _require_central_privacy_is_true(privacy, local, federation)


def _require_central_privacy_is_true(
    privacy: CentralPrivacy, local: Local, federation: Federation
) -> None:
    if not isinstance(federation.rule, FedAvg):
        raise ValueError(
            f"federation.rule: {federation.rule.kind} combines weights, and with "
            "privacy.mode: participant_central sites send gradients that the server adds up; "
            "use fedavg"
        )
    if federation.sites_per_round is not None:
        raise ValueError(
            "federation.sites_per_round: every participant must have the same chance to be in "
            "every step; with privacy.mode: participant_central ask all sites (null)"
        )
    if federation.outlier_factor is not None:
        raise ValueError(
            "federation.outlier_factor: compares sites' changes of the weights, and with "
            "privacy.mode: participant_central they send gradients, longer ones than clip_norm and "
            "the noise allow being left out as they are; use null"
        )
    if local.batch_size > privacy.participants:
        raise ValueError(
            f"local.batch_size: {local.batch_size} is more than the privacy.participants: "
            f"{privacy.participants} of all sites together, of whom it is drawn"
        )


def require_sums_suffice(
    *, privacy: Privacy, encoder: EncoderSettings, objective: Objective, federation: Federation
) -> None:
    """Refuse settings that need more than a sum over the sites, or that reveal more.

    Raises:
        ValueError: a setting does not fit; the message names the key, the reason and what to use
            instead.
    """
    rule, moments = federation.rule, objective.moments
    if rule.record.combines != "mean":
        sums = one_of(name for name, other in RULES.items() if other.record.combines == "mean")
        raise ValueError(
            f"federation.rule: {rule.kind} needs each site's weights, and secure_sum opens "
            f"their sum only; use {sums}"
        )
    if moments is not None and moments.components != "sum":
        raise ValueError(
            f"moments.components: {moments.components} tells every site's own moments, and "
            "secure_sum opens their sum only; use sum"
        )
    if federation.outlier_factor is not None:
        raise ValueError(
            "federation.outlier_factor: compares each site's change of the weights with the "
            "others', and secure_sum keeps the server from seeing it: a site whose update is too "
            "large spoils the sum unseen; use null, or secure_sum: null"
        )
    if isinstance(privacy, SitePrivacy):
        raise ValueError(
            "privacy.mode: site clips each site's change of the weights at the server, which "
            "secure_sum keeps from seeing it; use another mode, or secure_sum: null"
        )
    if isinstance(encoder, MLPEncoder) and encoder.public_scale is None:
        raise ValueError(
            "encoder.public_scale: a table is standardised by sums that each site says in the "
            "clear when it introduces itself; with secure_sum name a file with a published "
            "mean and standard deviation of every feature"
        )


def _require_site_privacy_is_true(objective: Objective, federation: Federation) -> None:
    if objective.moments is not None:
        raise ValueError(
            "objective.moments: every site is told exact sums over the others; with "
            "privacy.mode: site set moments: null"
        )
    if federation.weighting != "uniform":
        raise ValueError(
            f"federation.weighting: {federation.weighting} lets a large site weigh more "
            "than clip_norm; with privacy.mode: site use uniform"
        )
    if federation.sites_per_round is not None:
        raise ValueError(
            "federation.sites_per_round: a site that joins would change who else is asked; "
            "with privacy.mode: site ask all (null)"
        )
    if federation.outlier_factor is not None:
        raise ValueError(
            "federation.outlier_factor: whether a site's update is used would depend on the other "
            "sites', so that one site changes more than clip_norm; with privacy.mode: site, which "
            "clips every update, use null"
        )
    if not _is_whole_sum(federation.rule.record):
        sums = one_of(name for name, other in RULES.items() if _is_whole_sum(other.record))
        raise ValueError(
            f"federation.rule: {federation.rule.kind} is no sum over sites that noise "
            f"could be added to; with privacy.mode: site use {sums}"
        )


def _is_whole_sum(rule: RuleRecord) -> bool:
    return rule.combines == "mean" and not rule.norm_layers_stay


def require_compression_applies(privacy: Privacy, *, secure: bool) -> None:
    """Refuse to compress anything but changes of the weights that each site sends separately.

    With the other modes of privacy, compression does not change epsilon. A site's own noise is in
    its weights before they are rounded, and the rounding error is a function of them. The server
    clips a site's change after it was decoded, so that clipping bounds whatever the site has sent.

    Args:
        privacy: Privacy section of the experiment.
        secure: Whether the sites' updates enter a secure sum.

    Raises:
        ValueError: compression does not apply; the message says why and what to use instead.
    """
    if isinstance(privacy, CentralPrivacy):
        raise ValueError(
            "federation.compression: encodes changes of the weights, and with privacy.mode: "
            "participant_central sites send gradients with their share of the noise, which is true "
            "of their exact sum only; use null"
        )
    if secure:
        raise ValueError(
            "federation.compression: a secure sum adds whole numbers on a grid of its own "
            "(secure_sum.word_bits, secure_sum.fraction_bits), and bytes that were encoded do not "
            "add up; use null, or secure_sum: null"
        )


def require_evaluation_keeps_promises(privacy: Privacy, *, secure: bool) -> None:
    """Refuse to evaluate from sums if these would reveal what training keeps private.

    Args:
        privacy: Privacy section of the experiment.
        secure: Whether the sites' updates enter a secure sum.

    Raises:
        ValueError: the sums would break a promise; the message says why and what to use instead.
    """
    if not isinstance(privacy, NoPrivacy):
        raise ValueError(
            "evaluation.from_sums: sites would say sums over their training participants without "
            f"noise, and the epsilon of privacy.mode: {privacy.mode} would be a wrong number; set "
            "from_sums: null and evaluate the encoder on participants that it was not trained on"
        )
    if secure:
        raise ValueError(
            "evaluation.from_sums: the site probe needs every site's own mean, which secure_sum "
            "hides, and sums of products outgrow its grid; set from_sums: null, or secure_sum: null"
        )


def require_erasure_applies(
    erasure: LeaceSettings, privacy: Privacy, *, secure: bool, uses_embedding: bool
) -> None:
    """Refuse to erase the site where its sums would reveal what is kept private, or without need.

    Args:
        erasure: Erasure section of the experiment.
        privacy: Privacy section of the experiment.
        secure: Whether the sites' updates enter a secure sum.
        uses_embedding: Whether the objective trains embeddings.

    Raises:
        ValueError: the erasure does not apply; the message says why and what to use instead.
    """
    if not isinstance(privacy, NoPrivacy):
        raise ValueError(
            "erasure: sites would say sums over their training participants without noise, and the "
            f"epsilon of privacy.mode: {privacy.mode} would be a wrong number; set erasure: null"
        )
    if secure:
        raise ValueError(
            "erasure: what is erased is how each site's own mean differs, which secure_sum hides, "
            "and sums of products outgrow its grid; set erasure: null, or secure_sum: null"
        )
    if "embedding" in erasure.features and not uses_embedding:
        raise ValueError(
            "erasure.features: names the embedding, and this objective trains none; write "
            "[representation]"
        )
