"""Does what the torture says (`Order`, in tests/src/bin/torture/deed.rs), as its worker in Rust does."""

import base64
import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "worker-kit", "python"))
from hirelings_worker import Failed, Panic, serve  # noqa: E402

PIPES = [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1)]
PROGRAM = os.environ["HIRELINGS_TORTURE_PROGRAM"]
TAG = sys.argv[1]
LINES = [b"x" * length + b"\n" for length in (10, 30, 90, 270, 810, 2430, 7290, 21870)]
KEPT = []


def run(order, ctx):
    STARTS.note(order["nonce"], ctx.attempt)
    deed, of = order["deed"], {}
    if isinstance(deed, dict):
        ((deed, of),) = deed.items()
    data = base64.b64decode(order["bytes"])
    answer = {"nonce": order["nonce"], "pid": os.getpid(), "sum": sum_of(data), "bytes": data}
    if deed == "Echo":
        pass
    elif deed == "Swallow":
        answer["bytes"] = b""
    elif deed == "Fail":
        raise Failed(str(order["nonce"]))
    elif deed == "Panic":
        raise Panic("told to panic")
    elif deed == "Exit":
        sys.exit(3)
    elif deed == "Segfault":
        ctypes.c_char.from_address(16).value = b"x"
    elif deed == "Abort":
        os.abort()
    elif deed == "Overflow":
        overflow()
    elif deed == "Exhaust":
        exhaust()
    elif deed == "CutFrame":
        os.write(output(), bytes([200, 0, 0, 0, 3, 0]))
        sys.exit(5)
    elif deed == "CloseOutput":
        close_output()
        rest()
    elif deed == "Hold":
        child = holder("away" if of["away"] else "here")
        while of["away"] and os.getpgid(child.pid) != child.pid:
            time.sleep(0.001)
        ctx.progress({"Held": child.pid})
        go_on(of["then"])
    elif deed == "LeaveChildren":
        for errors in (subprocess.DEVNULL, None, None):
            KEPT.append(sleeping("here", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors))
        ctx.progress("Working")
        go_on(of["then"])
    elif deed == "FloodErrors":
        flood(of["forever"], lambda lump: os.write(2, lump))
    elif deed == "FloodProgress":
        flood(of["forever"], lambda lump: ctx.progress({"Noise": lump}))
    elif deed == "Hang":
        rest()
    elif deed == "Spin":
        ctx.progress("Working")
        while True:
            pass
    elif deed == "Stop":
        ctx.progress("Working")
        os.kill(os.getpid(), signal.SIGSTOP)
        rest()
    elif deed == "StopReading":
        stop_reading()
    elif deed == "StopChild":
        child = holder("stopped")
        while state(child.pid) not in ("T", None):
            time.sleep(0.001)
        ctx.progress({"Held": child.pid})
        rest()
    else:
        raise ValueError(f"what is {deed}?")
    return answer


class Starts:
    """Where each start is noted before anything else, in one write: see tests/src/starts.rs."""

    def __init__(self):
        folder = os.environ.get("TMPDIR", "/tmp")
        path = os.path.join(folder, f"hirelings-{TAG}.starts")
        self.file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        self.opened = time.time_ns()

    def note(self, nonce, attempt):
        note = struct.pack("<QIIQ", nonce, attempt, os.getpid(), self.opened)
        assert os.write(self.file, note) == len(note)


def sum_of(data):
    total = len(data)
    for byte in data[:: 1 + len(data) // 100_000]:
        total = (total * 31 + byte) & 0xFFFFFFFFFFFFFFFF
    return total


def go_on(then):
    if then == "Exits":
        sys.exit(4)
    if then == "Rests":
        rest()


def rest():
    while True:
        time.sleep(1000)


def overflow():
    """Python watches its own calls, but not those that come back to it from C."""
    sys.setrecursionlimit(2**31 - 1)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    def deeper(depth):
        return deeper(depth + 1) + 1

    deeper(1)


def exhaust():
    """Here that is an exception, which leaves the process in doubt."""
    resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
    lumps = []
    try:
        while True:
            lumps.append(b"x" * (16 << 20))
    except MemoryError:
        del lumps
        raise Panic("out of memory") from None


def flood(forever, write):
    left = 4 << 20
    while forever or left > 0:
        for line in LINES:
            write(line)
            left -= len(line)


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0]
    except OSError:
        return None


def place(which):
    """Where the kit keeps one of the protocol's descriptors: 0 its input, 1 its output."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}") == PIPES[which]:
                return int(name)
        except OSError:
            pass
    raise RuntimeError(f"no descriptor is {PIPES[which]}")


def output():
    return os.open(f"/proc/self/fd/{place(1)}", os.O_WRONLY | os.O_CLOEXEC)


def close_output():
    """The guard, which has it too, is the only other process of the group with these arguments."""
    with open("/proc/self/cmdline", "rb") as file:
        own = file.read()
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and int(name) != os.getpid() and os.getpgid(int(name)) == os.getpgid(0):
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if file.read() == own:
                        os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), place(1), inheritable=False)


def stop_reading():
    """The kit reads from now on a pipe into which nobody writes, and whose other end stays open."""
    silent, writer = os.pipe()
    its_input = place(0)
    # The real pipe keeps a reader, or the pool would learn that nobody reads.
    KEPT.extend((writer, os.dup(its_input)))
    os.dup2(silent, its_input, inheritable=False)
    os.close(silent)


def sleeping(how, **streams):
    return subprocess.Popen([PROGRAM, "sleeper", TAG, how], **streams)


def holder(how):
    """Starts a sleeper that holds the protocol's input and output, and standard error."""
    held = [os.open(f"/proc/self/fd/{place(0)}", os.O_RDONLY | os.O_CLOEXEC), output()]
    try:
        child = sleeping(how, stdin=held[0], stdout=held[1])
    finally:
        for fd in held:
            os.close(fd)
    KEPT.append(child)
    return child


if TAG == "--can-run":
    sys.exit(0)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
STARTS = Starts()
serve(run)
