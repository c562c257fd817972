"""Shapes are names: the same word means the same size everywhere; checked under pytest only."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Volumes = Float[Tensor, "batch channel x y z"]
"""Preprocessed scans, one per participant."""

FeatureRows = Float[Tensor, "batch feature"]
"""ROI tables, one row per participant."""

Inputs = Volumes | FeatureRows

Representation = Float[Tensor, "batch width"]
"""Encoder output: what is kept and evaluated."""

Embedding = Float[Tensor, "batch dim"]
"""Projector output on the unit sphere: what the contrastive losses see."""

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
"""Which candidates an anchor may see."""

PerAnchor = Float[Tensor, " anchor"]
"""One loss per anchor; the caller reduces."""

Numbers = Int[Tensor, " row"]
"""A whole number per row, such as which participant it belongs to."""

OfAnchors = Int[Tensor, " anchor"]
"""A whole number per anchor, such as whose view it is."""

OfCandidates = Int[Tensor, " candidate"]
"""A whole number per candidate."""

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
"""How much of each participant is at each node, in [0, 1]."""

AnchorMask = Bool[Tensor, " anchor"]
"""One yes or no per anchor."""

Values = Float[Tensor, "..."]
"""What is known of participants besides the scan, one number or array for each (first axis)."""

Scalar = Float[Tensor, ""]
"""A statistic of the whole batch."""

PerParticipant = Float[Tensor, " participant"]
"""One number per participant (or per view, in the order of the rows it goes with)."""
