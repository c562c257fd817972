"""Map embeddings to two dimensions by t-SNE initialised with PCA, deterministically.

van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008,
https://jmlr.org/papers/v9/vandermaaten08a.html
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE


def map_2d(embeddings: np.ndarray, *, seed: int) -> np.ndarray:
    """Return one point per row, shape (rows, 2); large distances on the map have no meaning."""
    rows, dim = embeddings.shape
    if dim == 1 or rows < 10:
        return np.stack([embeddings[:, 0], embeddings[:, -1]], axis=1)
    start = PCA(n_components=2, random_state=seed % 2**32).fit_transform(embeddings)
    start = start / (start[:, 0].std() or 1.0) * 1e-4
    tsne = TSNE(perplexity=min(30, rows // 4), init=start, random_state=seed % 2**32)
    return tsne.fit_transform(embeddings)
