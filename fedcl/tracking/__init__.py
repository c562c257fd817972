"""The curves of a run while it trains, for TensorBoard and MLflow."""
