"""Starts and supervises a federation's processes, relays their calls and decides what may run."""
