"""How many processor cores this process may use: ONNX Runtime does not ask its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that the scheduler gives this process, no more than its control group's time pays for.

    `cgroup`: where control groups are mounted, of version 2 or 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return math.ceil(min(cores or 1, _quota(cgroup)))


def _quota(cgroup: Path) -> float:
    """Processor seconds a second; infinite where nothing is said."""
    quota, period = _words(cgroup / "cpu.max")
    if not quota:
        quota, period = (
            _words(cgroup / "cpu" / f"cpu.cfs_{name}_us")[0] for name in ("quota", "period")
        )
    limited = quota.isdecimal() and period.isdecimal()  # "max" and "-1" mean no limit
    return int(quota) / int(period) if limited else math.inf


def _words(path: Path) -> tuple[str, str]:
    """The first two words of a file, "" for those that are not there."""
    words = path.read_text().split() if path.is_file() else []
    first, second, *_ = (*words, "", "")
    return first, second
