"""Name the shapes of arrays: one name means the same size everywhere; checked under pytest only."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Volumes = Float[Tensor, "batch channel x y z"]
"""Preprocessed scans, one per participant."""

FeatureRows = Float[Tensor, "batch feature"]
"""ROI tables, one row per participant."""

Inputs = Volumes | FeatureRows

Representation = Float[Tensor, "batch width"]
"""Output of the encoder, which is stored and evaluated."""

Embedding = Float[Tensor, "batch dim"]
"""Output of the projector on the unit sphere, which the contrastive losses compare."""

ViewEmbeddings = Float[Tensor, "participant view dim"]
"""Embeddings of every view of every participant in a batch."""

ViewRepresentations = Float[Tensor, "participant view width"]
"""Representations of every view of every participant in a batch."""

ViewAges = Float[Tensor, "participant view 1"]
"""Predicted age in years of every view of every participant in a batch."""

Ages = Float[Tensor, " participant"]
"""Age in years at the scan."""

PairWeights = Float[Tensor, "anchor candidate"]
"""One number per (anchor, candidate): a similarity or a degree of positiveness."""

BetweenParticipants = Float[Tensor, "participant participant"]
"""One number per pair of participants of a batch."""

PairMask = Bool[Tensor, "anchor candidate"]
"""True where an anchor is compared with a candidate."""

PerAnchor = Float[Tensor, " anchor"]
"""One loss per anchor; the caller reduces."""

Numbers = Int[Tensor, " row"]
"""An integer per row, such as the number of the participant it belongs to."""

OfAnchors = Int[Tensor, " anchor"]
"""An integer per anchor, such as the number of its participant."""

OfCandidates = Int[Tensor, " candidate"]
"""An integer per candidate, such as the number of its participant."""

PerCandidate = Float[Tensor, " candidate"]
"""One number per candidate."""

AnchorRows = Float[Tensor, "anchor dim"]
"""One vector per anchor."""

Mean = Float[Tensor, " dim"]
"""One embedding: a mean or a difference of means."""

NodeMeans = Float[Tensor, "node dim"]
"""Mean embedding of the participants at each node."""

NodeCovariances = Float[Tensor, "node dim dim"]
"""Covariance of the embeddings of the participants at each node."""

ToNodes = Float[Tensor, "anchor node"]
"""One number per anchor and node."""

PerNode = Float[Tensor, " node"]
"""One number per node."""

NodeShares = Float[Tensor, "participant node"]
"""Interpolation weight of each participant at each node, in [0, 1]."""

AnchorMask = Bool[Tensor, " anchor"]
"""True for the selected anchors."""

Values = Float[Tensor, "..."]
"""A variable of participants besides the scan, one number or array for each (first axis)."""

Scalar = Float[Tensor, ""]
"""A statistic of the whole batch."""

PerParticipant = Float[Tensor, " participant"]
"""One number per participant (or per view, in the order of the rows it goes with)."""
