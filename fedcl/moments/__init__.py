"""Sums of embeddings at nodes of age, and what a batch sees of other sites in them."""
