"""CNN calls that run two at a time, each on its share of the cores.

Small CNNs do not keep two cores busy: the batches of a few steps are short, and between two layers all wait for the
slowest. Two calls at a time, of one core each, take 0.8 of the time; large CNNs lose nothing by it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from threadpoolctl import threadpool_limits

AT_ONCE = 2


def cnn_pool() -> ThreadPoolExecutor:
    """The threads that CNN calls run in: AT_ONCE, or one where PyTorch is to use one core."""
    return _pool(os.getpid(), torch.get_num_threads())


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One for each process: in one that was forked the threads of its parent are not."""
    count = min(AT_ONCE, threads)
    return ThreadPoolExecutor(count, "tristream-cnn", initializer=_take_threads, initargs=(threads // count,))


def _take_threads(count: int) -> None:
    torch.get_num_threads()  # PyTorch gives each thread a number by its first call; what follows replaces it
    # OpenMP counts for each thread, so no other one notices; MKL, which CNNs in bfloat16 do without, for the process.
    threadpool_limits(count, user_api="openmp")
