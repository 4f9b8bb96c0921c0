"""The general worker of the tests (`Do`, in tests/src/lib.rs), in Python, as far as these do the same there."""

import ctypes
import fcntl
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "worker-kit", "python"))
from hirelings_worker import Failed, Panic, serve  # noqa: E402

CALLS_THAT_KEEP_THE_LOCK = ctypes.PyDLL(None)


def run(job, ctx):
    kind, of = (job, None) if isinstance(job, str) else next(iter(job.items()))
    if kind == "Echo":
        return of
    if kind == "Bytes":
        return "x" * of
    if kind == "Numbers":
        return f"job {ctx.job_id} attempt {ctx.attempt}"
    if kind == "Fail":
        raise Failed(of)
    if kind == "FailForGood":
        ctx.no_retry()
        raise Failed(of)
    if kind == "FailUntil":
        if ctx.attempt < of:
            raise Failed(f"attempt {ctx.attempt}")
    elif kind == "Panic":
        raise Panic(of)
    elif kind == "Exit":
        sys.exit(of)
    elif kind == "Abort":
        os.abort()
    elif kind == "Signal":
        os.kill(os.getpid(), of)
    elif kind == "SayAndDie":
        print(of)
        os._exit(3)
    elif kind == "Wait":
        ctx.progress("Waiting")
        with open(of) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
    elif kind == "Progress":
        for n in range(of):
            ctx.progress({"Count": n})
    elif kind == "Print":
        print(of)
        os.system(f"echo {of}")
    elif kind == "Then":
        last = ""
        for step in of:
            last = run(step, ctx)
        return last
    elif kind == "Retire":
        ctx.retire()
    elif kind == "UntilCancelled":
        ctx.progress("Waiting")
        while not ctx.is_cancelled():
            CALLS_THAT_KEEP_THE_LOCK.usleep(1000)
        return "cancelled"
    elif kind == "Deadline":
        return "none" if ctx.deadline() is None else str(int(1000 * (ctx.deadline() - time.monotonic())))
    elif kind == "Spawn":
        ctx.progress({"Spawned": subprocess.Popen(of, shell=True).pid})
    elif kind == "Run":
        return str(subprocess.run(of, shell=True).returncode)
    elif kind == "Shell":
        return subprocess.run(of, shell=True, stdout=subprocess.PIPE, text=True).stdout.rstrip()
    elif kind == "Spin":
        while True:
            CALLS_THAT_KEEP_THE_LOCK.sleep(1000)
    elif kind == "ReadInput":
        return sys.stdin.read()
    elif kind == "SpawnThread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    elif kind != "Pid":
        raise ValueError(f"this worker does no {kind}")
    return str(os.getpid())


if __name__ == "__main__":
    serve(run, name="hirelings_tests::Do")
