"""Runs studies: makes the runs, tables, figures and page of a question given as YAML."""
