"""Jobs around the library: read settings, call, write. The console script `recsys` is in `batch_jobs.cli`."""
