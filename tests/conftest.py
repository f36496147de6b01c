"""Settings of every test."""

import os

# Before NumPy, torch and faiss are loaded. The arrays are tiny: threads only wait for each other, on a busy
# machine for long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
