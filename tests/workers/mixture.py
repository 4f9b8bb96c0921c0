"""Does the jobs of the mixtures (`Act`, in tests/src/mixture.rs) in Python, and notes each start before anything else."""

import os
import resource
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "worker-kit", "python"))
from hirelings_worker import Failed, Panic, Worker, serve  # noqa: E402

SPIN = 1000  # microseconds; what takes longer sleeps
LEAKED = []


class Noting(Worker):
    name = "hirelings_tests::mixture::Act"

    def init(self, options):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.file = os.open(options, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
        self.opened = time.time_ns()

    def run(self, job, ctx):
        note = struct.pack("<QIIQ", ctx.job_id, ctx.attempt, os.getpid(), self.opened)
        assert os.write(self.file, note) == len(note)
        deed, of = job["deed"], None
        if isinstance(deed, dict):
            ((deed, of),) = deed.items()
        if ctx.attempt >= job["until"]:
            deed = "Answer"
        if deed == "Retire":
            ctx.retire()
        work(job["micros"])
        if deed == "Fail":
            raise Failed(f"attempt {ctx.attempt}")
        if deed == "Exit":
            sys.exit(0)
        if deed == "Kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "Abort":
            os.abort()
        if deed == "Panic":
            raise Panic("told to")
        if deed == "Leak":
            LEAKED.append(b"x" * (of * 1024))


def work(micros):
    if micros > SPIN:
        time.sleep(micros / 1e6)
        return
    end = time.perf_counter_ns() + 1000 * micros
    while time.perf_counter_ns() < end:
        pass


class Recovering(Noting):
    def recover(self):
        pass


if __name__ == "__main__":
    serve(Recovering if "recovering" in sys.argv else Noting)
