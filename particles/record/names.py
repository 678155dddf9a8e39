"""Where things lie in a run directory, and the number of that order."""

ARRAYS, CHECKPOINTS, COMMIT = "data.zarr", "checkpoints", "commit.json"
CONFIG, MANIFEST, LOG = "config.toml", "manifest.json", "log.txt"
FORMAT = 2  # of a run directory
