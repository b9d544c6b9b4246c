"""What a process holds of the machine's memory, on Linux."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def let_go() -> None:
    """Give memory that was freed back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def resident_mib() -> float:
    """What is held, and not what was freed."""
    let_go()
    (kibibytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) / 1024
