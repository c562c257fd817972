"""Attacks on the encoder of a finished run, and audits of its claim of privacy."""
