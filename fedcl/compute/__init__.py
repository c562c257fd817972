"""Where arithmetic runs: devices, worker processes, threads, and the progress of a long job."""
