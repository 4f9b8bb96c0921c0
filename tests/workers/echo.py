"""Gives its jobs back: what `kit_speed` measures."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "worker-kit", "python"))
from hirelings_worker import serve  # noqa: E402


@serve
def run(job):
    return job
