"""Variables of the environment that processes are given, or are asked for."""

DEVICE = "SURPASS_DEVICE"
"""Where models run; see `models.device`."""

KEEP_BELOW = "SURPASS_KEEP_BELOW"
"""GiB of states below the first trained layer that a process keeps, 0 for none; see `train.below`."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""How many threads a process may have, for each library that has some."""
