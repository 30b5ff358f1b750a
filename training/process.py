"""What a process that trains asks of the system, before torch is imported; needs no torch."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
NEVER_TRIM = 2**31 - 1


def prepare_to_train() -> None:
    """Let threads sleep while they wait, and keep memory that was freed for the next batch.

    Threads that wait by spinning keep the cores from those that read ahead; OpenMP reads its policy when torch is
    imported. And glibc gives every block over 32 MB back to the system as soon as it is freed, to fault it in again,
    zeroed, at the next step: a fifth of the time of the motion CNN, for an eighth less memory. Other C libraries are
    left as they are.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)
