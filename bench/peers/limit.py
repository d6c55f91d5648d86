#!/usr/bin/env python3
"""What the disk allows: writes the bytes of so many events at a time into a file whose space was
taken before, and syncs. Prints groups per second.

  limit.py DIR EVENTS_PER_GROUP SECONDS
"""
import os
import sys
import time

BYTES_PER_EVENT = 100
FILE_BYTES = 64 * 1024 * 1024

# macOS has no fdatasync, and its fsync does not empty the disk's cache.
if hasattr(os, "fdatasync"):
    sync = os.fdatasync
else:
    import fcntl

    def sync(fd):
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)


def main():
    path, events, seconds = os.path.join(sys.argv[1], "limit"), int(sys.argv[2]), float(sys.argv[3])
    group = b"x" * (events * BYTES_PER_EVENT)
    size = max(FILE_BYTES, 2 * len(group))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for start in range(0, size, 1 << 20):
            os.pwrite(fd, bytes(1 << 20), start)
        os.fsync(fd)
        rate(fd, group, size, seconds / 5)
        print(f"{rate(fd, group, size, seconds):.3f}")
    finally:
        os.close(fd)
        os.remove(path)


def rate(fd, group, size, seconds):
    groups, at, began = 0, 0, time.monotonic()
    while time.monotonic() < began + seconds:
        if at + len(group) > size:
            at = 0
        at += os.pwrite(fd, group, at)
        sync(fd)
        groups += 1
    return groups / (time.monotonic() - began)


main()
