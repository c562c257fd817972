"""A federation's running processes: what starts them, what passes between them, what may run."""
