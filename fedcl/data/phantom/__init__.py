"""The embedded cohort: 64 sites with OpenBHB's sizes and ages, simulated anatomy."""
