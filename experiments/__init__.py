"""Published claims as experiments: each asks a question of runs and compares the answer with the literature."""
