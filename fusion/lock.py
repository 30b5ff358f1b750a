"""A lock on a folder: one writer at a time."""

import errno
import fcntl
import os
import warnings
from functools import cache
from pathlib import Path

# What flock says where a file system has no such lock: NFS and FUSE mounts, on a folder that is open for reading.
NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def lock_folder(folder: Path) -> int:
    """A descriptor whose lock on the folder lasts until it is closed, or its process dies.

    Raises:
        BlockingIOError: another has the lock.
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
        _warn_of_no_lock(folder)
    return descriptor


@cache
def _warn_of_no_lock(folder: Path) -> None:
    """Once a folder: a run without a lock is better than none, as long as it is alone."""
    text = f"the file system of {folder} has no locks: see to it that no other run writes to it at the same time"
    warnings.warn(text, stacklevel=2)
