"""The files of a run, each read and written in one place."""
