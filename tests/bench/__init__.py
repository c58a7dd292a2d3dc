"""Benchmarks; small matrices are multiplied on one thread, as in the product's own processes."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported
