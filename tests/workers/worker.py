"""A worker in Python, written from docs/protocol.md with the standard library alone.

Its job type is that of tests/tests/integration/python.rs, in Rust:

    enum Task { Count { text: String, fail: bool }, Hold, Boom, Last }
    type Output = BTreeMap<String, u32>;
    type Progress = u32;
    type Error = String;

--banner prints before the hello, --recover says ready in a frame of its own.
"""

import collections
import os
import signal
import struct
import subprocess
import sys
import threading

NAME = "word-count"
MAGIC = b"hireling"
INIT, JOB, SKIP, LEAVE = range(4)
READY, START, PROGRESS, SUCCESS, FAILURE, UNUSABLE, TERMINAL, SKIPPED, RETIRE = range(9)
DECODE_JOB, ENCODE_OUTPUT = range(2)


# ---------------------------------------------------------------- values


class Undecodable(Exception):
    pass


class Reader:
    """Takes values off the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Undecodable("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def flag(self):
        byte = self.number("B")
        if byte > 1:
            raise Undecodable(f"{byte} is no bool")
        return byte == 1

    def text(self):
        try:
            return self.take(self.u64()).decode()
        except UnicodeDecodeError as error:
            raise Undecodable(str(error))

    def rest(self):
        return self.take(len(self.data) - self.at)

    def end(self):
        if self.at < len(self.data):
            raise Undecodable(f"{len(self.data) - self.at} bytes are left over")


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def flag(value):
    return b"\1" if value else b"\0"


def text(value):
    data = value.encode()
    return u64(len(data)) + data


def option(encode, value):
    return b"\0" if value is None else b"\1" + encode(value)


# ---------------------------------------------------------------- the worker's end


class Link:
    """The two descriptors, and what has arrived."""

    def __init__(self):
        self.input, self.output = os.dup(0), os.dup(1)  # not inherited by what is spawned
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        self.lock = threading.Condition()
        self.bytes = bytearray()
        self.jobs = collections.deque()
        self.max_frame = 2**32 - 1
        self.leaving = self.retired = self.hello_read = False

    def orphaned(self):
        if self.hello_read:
            os.kill(0, signal.SIGKILL)
        sys.exit("no pool is there: this program is a worker, which a pool starts")

    def fill(self):
        data = os.read(self.input, 65536)
        if not data:
            self.orphaned()
        return data

    def frame(self):
        """The next frame, if it has arrived whole."""
        if len(self.bytes) < 4:
            return None
        (length,) = struct.unpack_from("<I", self.bytes)
        if length > self.max_frame:
            raise Undecodable(f"a frame of {length} bytes is over the limit")
        if len(self.bytes) < 4 + length:
            return None
        frame = bytes(self.bytes[4 : 4 + length])
        del self.bytes[: 4 + length]
        return Reader(frame)

    def next_frame(self):
        while (frame := self.frame()) is None:
            self.bytes += self.fill()
        return frame

    def write(self, *parts):
        body = b"".join(parts)
        data = memoryview(u32(len(body)) + body)
        with self.lock:
            try:
                while data:
                    data = data[os.write(self.output, data) :]
            except BrokenPipeError:
                self.orphaned()

    def terminal(self, job, message, location=None):
        self.write(u32(TERMINAL), option(u64, job), text(message), option(text, location), option(text, None))

    def listen(self):
        """Takes in all that arrives, for as long as the process lives."""
        while True:
            try:
                with self.lock:
                    while (frame := self.frame()) is not None:
                        self.take_in(frame)
                    self.lock.notify()
                data = self.fill()
            except (OSError, Undecodable) as error:
                print("the pool cannot be understood:", error, file=sys.stderr)
                os._exit(2)
            self.bytes += data

    def take_in(self, frame):
        kind = frame.u32()
        if kind == JOB:
            job, attempt = frame.u64(), frame.u32()
            if self.retired:
                self.write(u32(SKIPPED), u64(job))
            else:
                self.jobs.append((job, attempt, frame.rest()))
        elif kind == SKIP:
            job = frame.u64()
            for waiting in self.jobs:
                if waiting[0] == job:
                    self.jobs.remove(waiting)
                    self.write(u32(SKIPPED), u64(job))
                    break
        elif kind == LEAVE:
            self.leaving = True
        elif kind != INIT:
            raise Undecodable(f"unknown message {kind}")

    def next_job(self):
        """Blocks until there is a job; none means leave."""
        with self.lock:
            while True:
                if self.jobs:
                    return self.jobs.popleft()
                if self.leaving:
                    return None
                self.lock.wait()

    def retire(self, job):
        with self.lock:
            self.retired = True
            self.write(u32(START), u64(job))
            self.write(u32(RETIRE))
            while self.jobs:
                self.write(u32(SKIPPED), u64(self.jobs.popleft()[0]))


def connect():
    link = Link()
    link.write(MAGIC, struct.pack("<HHI", 1, 1, 3), NAME.encode())
    hello = link.next_frame()
    magic, (lowest, highest, flags) = hello.take(8), struct.unpack("<HHI", hello.take(8))
    if magic != MAGIC or flags & 1 or not lowest <= 1 <= highest:
        sys.exit("its standard input is not that of a pool that it understands")
    link.hello_read = True
    init = link.next_frame()
    if init.u32() != INIT:
        refuse(link, "the first message is no init")
    name, codec, link.max_frame, _has_options = init.text(), init.text(), init.u64(), init.flag()
    if name != NAME or codec != "bincode":
        refuse(link, f"this worker does {NAME} in bincode, the pool has {name} in {codec}")
    threading.Thread(target=link.listen, daemon=True).start()
    return link


def refuse(link, why):
    link.terminal(None, why)
    sys.exit(why)


# ---------------------------------------------------------------- the work


class Failed(Exception):
    """The job's own error."""


def decode(payload):
    reader = Reader(payload)
    variant = reader.u32()
    if variant == 0:
        task = ("count", reader.text(), reader.flag())
    elif variant in (1, 2, 3):
        task = (("hold", "boom", "last")[variant - 1],)
    else:
        raise Undecodable(f"unknown variant {variant}")
    reader.end()
    return task


def run(link, job, task, progress):
    if task[0] == "hold":
        progress(subprocess.Popen(["sleep", "120"]).pid)
        threading.Event().wait()
    if task[0] == "boom":
        raise RuntimeError("boom")
    if task[0] == "last":
        link.retire(job)
        return {}
    _, words, fail = task
    print("this must not reach the protocol", flush=True)
    words = words.split()
    progress(len(words))
    if fail:
        raise Failed("told to fail")
    return collections.Counter(words)


def encode(counts):
    pairs = (text(word) + u32(count) for word, count in sorted(counts.items()))
    return u64(len(counts)) + b"".join(pairs)


def main():
    recover = "--recover" in sys.argv
    if "--banner" in sys.argv:
        print("Welcome! This line is longer than hireling, and no frame.", flush=True)
    link = connect()
    link.write(u32(READY))
    ready = flag(not recover)
    while (arrived := link.next_job()) is not None:
        job, _attempt, payload = arrived
        try:
            task = decode(payload)
            output = encode(run(link, job, task, lambda n: link.write(u32(PROGRESS), u64(job), u32(n))))
            if 13 + len(output) > link.max_frame:
                link.write(u32(UNUSABLE), u64(job), ready, u32(ENCODE_OUTPUT), text("dict"), text("it is too long"))
            else:
                link.write(u32(SUCCESS), u64(job), ready, output)
        except Failed as error:
            link.write(u32(FAILURE), u64(job), ready, text(str(error)))
        except Undecodable as error:
            link.write(u32(UNUSABLE), u64(job), ready, u32(DECODE_JOB), text("Task"), text(str(error)))
        except Exception as error:
            place = error.__traceback__
            while place.tb_next:
                place = place.tb_next
            link.terminal(job, str(error), f"{os.path.basename(__file__)}:{place.tb_lineno}:1")
            sys.exit(1)
        if recover:
            link.write(u32(READY))


main()
