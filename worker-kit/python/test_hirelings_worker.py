"""The kit's own tests: a worker process, and the test in the place of its pool. `python3 test_hirelings_worker.py`"""

import collections
import dataclasses
import fcntl
import itertools
import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
import threading
import time
import unittest
import unittest.mock

import hirelings_worker as kit

FOLDER = os.path.dirname(os.path.abspath(__file__))
LIMIT = 30  # seconds that anything is waited for
READY = struct.pack("<I", kit._READY)


def about(kind, job):
    return struct.pack("<IQ", kind, job)


class Pool:
    """A worker of this code, and what a pool says to it."""

    def __init__(self, code, codec="json", version=2, options=None, max_frame=1 << 20, name="square", preamble=b""):
        code = textwrap.dedent(code)
        environment = {**os.environ, "PYTHONPATH": FOLDER, "PYTHONDONTWRITEBYTECODE": "1"}
        self.script = tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8")
        self.script.write(code)
        self.script.flush()
        self.process = subprocess.Popen(
            [sys.executable, self.script.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self.read = b""
        self.send(b"hireling" + struct.pack("<HHI", 1, version, 0))
        texts = b"".join(struct.pack("<Q", len(text)) + text.encode() for text in (name, codec))
        has_options = b"\0" if options is None else b"\1" + options
        self.send(struct.pack("<I", kit._INIT) + texts + struct.pack("<Q", max_frame) + has_options)
        self.hello = self.next_behind(preamble)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        self.script.close()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(LIMIT)

    def send(self, *bodies):
        data = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
        self.process.stdin.write(data)

    def job(self, number, value, attempt=1):
        payload = value if isinstance(value, bytes) else json.dumps(value).encode()
        return struct.pack("<IQI", kit._JOB, number, attempt) + payload

    def do(self, number, value, attempt=1):
        self.send(self.job(number, value, attempt))

    def next(self, limit=LIMIT):
        """The next frame; None at the end."""
        while True:
            if len(self.read) >= 4:
                length = int.from_bytes(self.read[:4], "little")
                if len(self.read) >= 4 + length:
                    frame, self.read = self.read[4 : 4 + length], self.read[4 + length :]
                    return frame
            if not select.select([self.process.stdout], [], [], limit)[0]:
                raise TimeoutError
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            self.read += data

    def next_behind(self, preamble):
        while len(self.read) < len(preamble):
            self.read += os.read(self.process.stdout.fileno(), 1 << 16)
        assert self.read.startswith(preamble), self.read
        self.read = self.read[len(preamble) :]
        return self.next()

    def said(self):
        """The next frame that is no Start: on a busy machine any job may run for more than a millisecond."""
        while True:
            frame = self.next()
            assert frame is not None, self.errors()
            if frame[:4] != struct.pack("<I", kit._START):
                return frame

    def answer(self):
        """The next frame that is no Start: its kind, job, whether it says ready, and what it holds."""
        frame = self.said()
        kind, job, ready = struct.unpack_from("<IQ?", frame)
        return kind, job, ready, frame[13:]

    def value(self):
        kind, _, _, payload = self.answer()
        assert kind == kit._SUCCESS, (kind, payload)
        return json.loads(payload)

    def failure(self):
        kind, _, _, payload = self.answer()
        assert kind == kit._FAILURE, (kind, payload)
        return json.loads(payload)

    def unusable(self):
        kind, _, _, rest = self.answer()
        assert kind == kit._UNUSABLE, (kind, rest)
        values = kit._Values(rest)
        return values.number(4), values.text(), values.text()

    def terminal(self):
        frame = self.next()
        while frame is not None and frame[:4] == struct.pack("<I", kit._START):
            frame = self.next()
        values = kit._Values(frame)
        assert values.number(4) == kit._TERMINAL, frame
        job = values.number(8) if values.number(1) else None
        return job, values.text()

    def errors(self):
        return self.process.stderr.read().decode()

    def group(self):
        """The processes of the worker's group that have not ended."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(") ")[2].split()
                except OSError:
                    continue
                if int(fields[2]) == self.process.pid and fields[0] != "Z":
                    found.append(int(name))
        return found


def eventually(done):
    end = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


def state(pid):
    """A process's, as a letter: T if it is stopped."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(") ")[2][0]


def unread(pipe):
    """How many bytes are in it."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def heartbeat(silence):
    return struct.pack("<IQ", kit._HEARTBEAT, silence)


SQUARE = """
    from hirelings_worker import serve

    @serve
    def square(job):
        return job * job
"""


class Handshake(unittest.TestCase):
    def test_hello_and_ready(self):
        with Pool(SQUARE) as pool:
            self.assertEqual(pool.hello, b"hireling" + struct.pack("<HHI", 1, 2, 3))
            self.assertEqual(pool.next(), READY)
            pool.do(1, 7)
            self.assertEqual(pool.answer(), (kit._SUCCESS, 1, True, b"49"))
            pool.send(struct.pack("<I", kit._LEAVE))
            self.assertEqual(pool.process.wait(LIMIT), 0)

    def test_a_name_is_said_and_held(self):
        code = SQUARE.replace("@serve", '@serve(name="cube")')
        with Pool(code) as pool:
            self.assertEqual(pool.hello[16:], b"cube")
            self.assertEqual(pool.terminal(), (None, "this worker does jobs of type cube, the pool has square"))
            self.assertEqual(pool.process.wait(LIMIT), 1)

    def test_a_codec_that_it_does_not_know(self):
        with Pool(SQUARE, codec="bincode") as pool:
            said = "the pool encodes payloads as bincode, this worker knows json: build the pool with codec(Codec::Json)"
            self.assertEqual(pool.terminal(), (None, said))

    def test_started_by_hand(self):
        script = textwrap.dedent(SQUARE)
        for given, says in [(b"", "which a pool starts"), (b"hello, hello, hello", "not a pool's")]:
            done = subprocess.run(
                [sys.executable, "-c", script], input=given, capture_output=True, env={**os.environ, "PYTHONPATH": FOLDER}
            )
            self.assertEqual(done.returncode, 2)
            self.assertIn(says, done.stderr.decode())

    def test_a_pool_of_version_1(self):
        code = """
            from hirelings_worker import serve, Failed

            @serve
            def fail(job, ctx):
                ctx.no_retry()
                raise Failed([ctx.deadline(), ctx.is_cancelled()])
        """
        with Pool(code, version=1) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, None)
            self.assertEqual(pool.failure(), [None, False])

    def test_an_init_that_fails(self):
        code = """
            from hirelings_worker import serve, Worker

            @serve
            class Model(Worker):
                def init(self, options):
                    raise FileNotFoundError(f"no model at {options['path']}")
        """
        with Pool(code, options=b'{"path":"/x"}') as pool:
            self.assertEqual(pool.terminal(), (None, "FileNotFoundError: no model at /x"))
            self.assertEqual(pool.process.wait(LIMIT), 1)


class Handlers(unittest.TestCase):
    def test_a_worker_with_state_and_recovery(self):
        code = """
            from hirelings_worker import serve, Worker

            @serve
            class Counter(Worker):
                name = "square"

                def init(self, options):
                    self.sum = options

                def run(self, job, ctx):
                    self.sum += job
                    return self.sum

                def recover(self):
                    self.sum += 100
        """
        with Pool(code, options=b"5") as pool:
            self.assertEqual(pool.next(), READY)
            for number, expected in [(1, 6), (2, 107)]:
                pool.do(number, 1)
                self.assertEqual(pool.answer(), (kit._SUCCESS, number, False, str(expected).encode()))
                self.assertEqual(pool.next(), READY)

    def test_functions_of_many_kinds(self):
        for code in [
            "serve(lambda job, ctx: [job, ctx.job_id])",
            "serve(lambda job, context=None: [job, context.job_id])",
            "import functools; serve(functools.partial(lambda of, job, ctx: [job, ctx.job_id], 0))",
            "class Of:\n    def run(self, job, ctx): return [job, ctx.job_id]\nserve(Of().run)",
            "class Of:\n    def __call__(self, job): return [job, 3]\nserve(Of())",
            "async def run(job, ctx): return [job, ctx.job_id]\nserve(run)",
            "serve(dict.fromkeys) if False else serve(lambda job: [job, 3])",
        ]:
            with self.subTest(code), Pool("from hirelings_worker import serve\n" + code) as pool:
                self.assertEqual(pool.next(), READY)
                pool.do(3, "x")
                self.assertEqual(pool.value(), ["x", 3])

    def test_what_can_be_asked_and_said_of_a_job(self):
        code = """
            import time
            from hirelings_worker import serve

            @serve
            def run(job, ctx):
                ctx.progress({"half": 0.5})
                left = None if ctx.deadline() is None else round(ctx.deadline() - time.monotonic())
                return [ctx.job_id, ctx.attempt, ctx.is_cancelled(), left]
        """
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            pool.send(struct.pack("<IQIQ", kit._TIMED_JOB, 9, 2, 10_000) + b"null")
            self.assertEqual(pool.said(), about(kit._PROGRESS, 9) + b'{"half":0.5}')
            self.assertEqual(pool.value(), [9, 2, False, 10])

    def test_errors(self):
        code = """
            from hirelings_worker import serve, Failed, Panic

            class Coded(Exception):
                def to_json(self):
                    return {"code": self.args[0]}

            @serve
            def run(job, ctx):
                if job == "text":
                    raise Failed("no such page")
                if job == "coded":
                    raise Coded(404)
                if job == "final":
                    ctx.no_retry()
                    raise Failed(None)
                if job == "panic":
                    raise Panic("in doubt")
                if job == "set":
                    raise Failed({1, 2})
                raise ValueError(job)
        """
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, "text")
            self.assertEqual(pool.failure(), "no such page")
            pool.do(2, "coded")
            self.assertEqual(pool.failure(), {"code": 404})
            pool.do(3, "else")
            first, second, *_, last = pool.failure().split("\n")
            self.assertEqual((first, second), ("ValueError: else", "Traceback (most recent call last):"))
            self.assertEqual(last, "ValueError: else")
            pool.do(4, "final")
            self.assertEqual(pool.answer(), (kit._FINAL_FAILURE, 4, True, b"null"))
            pool.do(5, "set")
            fault, type_name, message = pool.unusable()
            self.assertEqual((fault, type_name), (kit._ENCODE_ERROR, "Failed"))
            self.assertIn("a set has no JSON", message)
            pool.do(6, "panic")
            self.assertEqual(pool.terminal(), (6, "in doubt"))
            self.assertEqual(pool.process.wait(LIMIT), 1)

    def test_ends_of_the_process(self):
        code = """
            import os, sys
            from hirelings_worker import serve

            @serve
            def run(job):
                sys.exit(job) if job < 5 else os.kill(os.getpid(), job)
        """
        for job, status in [(0, 0), (3, 3), (15, -15), (9, -9)]:
            with Pool(code) as pool:
                self.assertEqual(pool.next(), READY)
                pool.do(1, job)
                self.assertEqual(pool.process.wait(LIMIT), status)

    def test_what_is_printed(self):
        code = """
            import os, sys
            print("printed", flush=True)
            sys.stdout.write("kept")
            from hirelings_worker import serve

            @serve
            def run(job):
                print("printed")
                os.system("echo by a child")
                return sys.stdin.read()
        """
        environment = os.environ.pop("PYTHONUNBUFFERED", None)
        with Pool(code, preamble=b"printed\n") as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, None)
            self.assertEqual(pool.value(), "")
            pool.end()
            self.assertEqual(pool.errors(), "keptprinted\nby a child\n")
        if environment is not None:
            os.environ["PYTHONUNBUFFERED"] = environment

    def test_children_that_are_forked(self):
        code = """
            import multiprocessing, os, warnings
            from hirelings_worker import serve

            def child(ctx, queue):
                try:
                    ctx.progress("from the child")
                except Exception as error:
                    queue.put(type(error).__name__)

            @serve
            def run(job, ctx):
                if job == "returns":
                    # The child comes back from the handler as well.
                    pid = os.fork()
                    return pid and os.waitpid(pid, 0)[1]
                context = multiprocessing.get_context("fork")
                queue = context.SimpleQueue()
                process = context.Process(target=child, args=(ctx, queue))
                process.start()
                process.join()
                # No wait finds the kit's own process.
                try:
                    os.wait()
                except ChildProcessError:
                    return queue.get() != ""
        """
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, "process")
            self.assertEqual(pool.value(), True)
            pool.do(2, "returns")
            self.assertEqual(pool.value(), 256)

    def test_words_after_the_job(self):
        code = """
            from hirelings_worker import serve

            before = []

            @serve
            def run(job, ctx):
                before.append(ctx)
                try:
                    before[0].progress(1)
                except RuntimeError as error:
                    return str(error)
        """
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, None)
            self.assertEqual(pool.said(), about(kit._PROGRESS, 1) + b"1")
            self.assertEqual(pool.value(), None)
            pool.do(2, None)
            self.assertEqual(pool.value(), "job 1 is over: nothing more can be said of it")

    def test_imported_it_does_not_serve(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "squares.py"), "w") as file:
                file.write(textwrap.dedent(SQUARE))
            paths = os.pathsep.join([folder, FOLDER])
            code = "import squares; print(squares.square(7))"
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONPATH": paths}
            )
            self.assertEqual((done.stdout, done.returncode), (b"49\n", 0), done.stderr)


class Manual(unittest.TestCase):
    def test_the_programs_in_the_manual(self):
        with open(os.path.join(FOLDER, "README.md"), encoding="utf-8") as file:
            programs = [part.split("```")[0] for part in file.read().split("```python\n")[1:]]
        made = {"__name__": "manual"}
        for program in programs:
            exec(compile(program, "<module>", "exec"), made)
        self.assertEqual(made["square"]({"n": 7}), 49)
        with tempfile.NamedTemporaryFile("w") as words:
            words.write("these words\n")
            words.flush()
            speller = made["Speller"]()
            speller.init({"words": words.name})
            self.assertEqual([speller.run(word, None) for word in ("words", "wrods")], [True, False])
        with Pool(programs[0]) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, {"n": 7})
            self.assertEqual(pool.value(), 49)
        with Pool(programs[1]) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, {"pages": 0})
            self.assertEqual(pool.answer(), (kit._FINAL_FAILURE, 1, True, b'"there are no pages"'))
            pool.do(2, {"pages": 2})
            self.assertEqual([pool.said(), pool.said()], [about(kit._PROGRESS, 2) + part for part in (b"0.0", b"0.5")])
            self.assertEqual(pool.value(), {"pages": 2})


class Values(unittest.TestCase):
    def encoded(self, value):
        return kit._Json.encode(value).decode()

    def test_what_json_is_written(self):
        @dataclasses.dataclass
        class Point:
            x: int
            y: "list"

        self.assertEqual(self.encoded({"ü": [1, 1.5, None, True, ()]}), '{"ü":[1,1.5,null,true,[]]}')
        self.assertEqual(self.encoded(b"\1\2"), '"AQI="')
        self.assertEqual(self.encoded([Point(1, [Point(2, [])])]), '[{"x":1,"y":[{"x":2,"y":[]}]}]')
        self.assertEqual(self.encoded({1: 2, -3: 4}), '{"1":2,"-3":4}')
        self.assertEqual(self.encoded([2**64 - 1, -(2**63), 2**53 + 1]), "[18446744073709551615,-9223372036854775808,9007199254740993]")

    def test_what_is_refused(self):
        for value in [
            float("nan"),
            [float("inf")],
            {"a": {"b": -float("inf")}},
            {None: 1},
            {True: 1},
            {1.5: 1},
            {1: 1, "1": 2},
            [{(1, 2): 3}],
            2**64,
            [[-(2**63) - 1]],
            {"a": 1j},
            {1, 2},
            object(),
            "\ud800",
        ]:
            with self.subTest(repr(value)), self.assertRaises((TypeError, ValueError, OverflowError)):
                self.encoded(value)

    def test_what_is_read(self):
        self.assertEqual(kit._Json.decode(b" 9007199254740993\n"), 2**53 + 1)
        self.assertEqual(kit._Json.decode(b"0.1"), 0.1)
        for text in [b"NaN", b"Infinity", b"[-Infinity]", b"", b"1 2", b"{", b'"\xff"']:
            with self.subTest(text), self.assertRaises(ValueError):
                kit._Json.decode(text)

    def test_each_fault_fails_its_job_alone(self):
        code = """
            from hirelings_worker import serve

            @serve
            def run(job, ctx):
                if job == "progress":
                    ctx.progress({1, 2})
                if job == "long progress":
                    ctx.progress("x" * 10000)
                if job == "caught":
                    try:
                        ctx.progress({1, 2})
                    except TypeError as error:
                        return str(error)
                return {"nan": float("nan"), "long": "x" * 10000}.get(job, job)
        """
        with Pool(code, max_frame=1024) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, b"{")
            self.assertEqual(pool.unusable()[0], kit._DECODE_JOB)
            for number, (job, fault, says) in enumerate(
                [
                    ("nan", kit._ENCODE_OUTPUT, "it holds a NaN"),
                    ("long", kit._ENCODE_OUTPUT, "over the frame limit of 1024 bytes"),
                    ("progress", kit._ENCODE_PROGRESS, "a set has no JSON"),
                    ("long progress", kit._ENCODE_PROGRESS, "over the frame limit of 1024 bytes"),
                ],
                2,
            ):
                pool.do(number, job)
                got, _, message = pool.unusable()
                self.assertEqual(got, fault)
                self.assertIn(says[:40], message)
            pool.do(8, "caught")
            self.assertIn("the progress cannot be encoded", pool.value())

    def test_bincode_by_hand(self):
        code = """
            import struct
            from hirelings_worker import serve, Worker

            @serve
            class Square(Worker):
                codec = "bincode"

                def init(self, options):
                    assert options == b"\\1\\2", options

                def run(self, job, ctx):
                    (n,) = struct.unpack("<q", job)
                    if n < 0:
                        raise ValueError("negative")
                    return struct.pack("<q", n * n) if n else "nothing"
        """
        with Pool(code, codec="bincode", options=b"\1\2") as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, struct.pack("<q", 7))
            self.assertEqual(pool.answer(), (kit._SUCCESS, 1, True, struct.pack("<q", 49)))
            pool.do(2, struct.pack("<q", -1))
            kind, _, _, error = pool.answer()
            self.assertEqual(kind, kit._FAILURE)
            self.assertTrue(kit._Values(error).text().startswith("ValueError: negative\nTraceback"))
            pool.do(3, struct.pack("<q", 0))
            self.assertEqual(pool.unusable()[0], kit._ENCODE_OUTPUT)


# A handler that keeps the interpreter's lock, in a call of C, until a file is there.
HOLDING = """
    import ctypes, os, sys
    from hirelings_worker import serve, Worker

    libc = ctypes.PyDLL(None)

    def hold(path):
        while libc.access(path.encode(), 0):
            libc.usleep(1000)

    {}
    def run(job, ctx):
        if job == "retire":
            ctx.retire()
        elif job is not None:
            hold(job)
        return ctx.is_cancelled()
"""


class Guard(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.gate = os.path.join(folder.name, "open")

    def open(self, gate=None):
        open(gate or self.gate, "w").close()

    def test_a_job_that_keeps_the_lock_is_announced_and_others_are_recalled(self):
        with Pool(HOLDING.format("@serve")) as pool:
            self.assertEqual(pool.next(), READY)
            # All at once: the others are in the worker's own memory when the first begins.
            pool.send(*(pool.job(n, self.gate if n == 1 else None) for n in (1, 2, 3)))
            self.assertEqual(pool.next(), about(kit._START, 1))
            pool.send(about(kit._SKIP, 2))
            self.assertEqual(pool.next(), about(kit._SKIPPED, 2))
            # These come while it runs.
            pool.send(pool.job(4, None), pool.job(5, None), about(kit._SKIP, 4), about(kit._SKIP, 2), about(kit._SKIP, 1))
            self.assertEqual(pool.next(), about(kit._SKIPPED, 4))
            pool.send(struct.pack("<IQ", kit._HEARTBEAT, 60_000))
            self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
            pool.send(struct.pack("<IQQ", kit._CANCEL, 1, 10), struct.pack("<IQQ", kit._CANCEL, 5, 10))
            pool.send(struct.pack("<IQ", kit._HEARTBEAT, 60_000))
            self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
            self.open()
            # The first was cancelled while it ran, the last before it began.
            self.assertEqual([(pool.answer()[1::2]) for _ in range(3)], [(1, b"true"), (3, b"false"), (5, b"true")])

    def test_a_deadline_is_the_earlier_of_the_limit_and_of_what_a_cancel_leaves(self):
        never = 2**64 - 1
        cases = [
            (None, [], None),
            (None, [never], None),
            (60_000, [never], 60),
            (None, [90_000], 90),
            (60_000, [90_000], 60),
            (60_000, [30_000], 30),
        ]
        # While the job runs, and while the one before it does.
        cases = [(*case, runs) for case in cases for runs in (True, False)]
        cases.append((60_000, [20_000, 30_000, never], 20, True))
        code = HOLDING.format("@serve").replace("return ctx.is_cancelled()", "return ctx.deadline()")
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            for number, (limit, cancels, expected, runs) in enumerate(cases):
                with self.subTest(limit=limit, cancels=cancels, runs=runs):
                    gate = f"{self.gate}.{number}"
                    kind, times = (kit._JOB, b"") if limit is None else (kit._TIMED_JOB, struct.pack("<Q", limit))
                    value = json.dumps(gate if runs else None).encode()
                    job = struct.pack("<IQI", kind, number, 1) + times + value
                    begun = time.monotonic()
                    pool.send(job if runs else pool.job(number + 100, gate))
                    self.assertEqual(pool.next()[:4], struct.pack("<I", kit._START))
                    if not runs:
                        pool.send(job)
                    pool.send(*(struct.pack("<IQQ", kit._CANCEL, number, within) for within in cancels))
                    pool.send(struct.pack("<IQ", kit._HEARTBEAT, 600_000))
                    self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
                    heard = time.monotonic()
                    # What a cancel leaves counts from when it has come; a limit, from when the job is begun.
                    time.sleep(0.05)
                    opened = time.monotonic()
                    self.open(gate)
                    if not runs:
                        pool.value()
                    deadline = pool.value()
                    if expected is None:
                        self.assertIsNone(deadline)
                    else:
                        # What the guard has held is on its way for a while.
                        latest = time.monotonic() if limit == expected * 1000 else heard + time.monotonic() - opened
                        self.assertGreaterEqual(deadline, begun + expected - 0.002)
                        self.assertLessEqual(deadline, latest + expected)

    def test_a_large_job_behind_a_long_one_arrives_whole(self):
        with Pool(HOLDING.format("@serve")) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, self.gate)
            self.assertEqual(pool.next(), about(kit._START, 1))
            large = pool.job(2, b'"%s"' % (b"x" * 500_000))
            pool.process.stdin.write(struct.pack("<I", len(large)) + large[:300_000])
            self.open()
            self.assertEqual(pool.answer()[1], 1)
            pool.process.stdin.write(large[300_000:])
            self.assertEqual(pool.next(), about(kit._START, 2))
            self.open()

    def test_retiring(self):
        with Pool(HOLDING.format("@serve")) as pool:
            self.assertEqual(pool.next(), READY)
            pool.send(pool.job(1, "retire"), pool.job(2, None), pool.job(3, None))
            said = [pool.next() for _ in range(5)]
            self.assertEqual(said[:2], [about(kit._START, 1), struct.pack("<I", kit._RETIRE)])
            answer = about(kit._SUCCESS, 1) + b"\1false"
            skipped = [about(kit._SKIPPED, 2), about(kit._SKIPPED, 3)]
            self.assertEqual([frame for frame in said[2:] if frame != answer], skipped)
            pool.do(4, None)
            self.assertEqual(pool.next(), about(kit._SKIPPED, 4))
            pool.send(struct.pack("<I", kit._LEAVE))
            self.assertEqual(pool.process.wait(LIMIT), 0)

    def test_nothing_follows_the_last_words(self):
        code = """
            import atexit, os, time
            from hirelings_worker import serve, Panic

            def stay(path):
                while not os.path.exists(path):
                    time.sleep(0.001)

            @serve
            def run(job):
                atexit.register(stay, job["gate"])
                time.sleep(job["seconds"])
                raise Panic("in doubt")
        """
        for long in (0, 0.1):  # before the guard has announced it, and once it reads
            with self.subTest(long=long), Pool(code) as pool:
                self.assertEqual(pool.next(), READY)
                job = {"gate": f"{self.gate}.{long}", "seconds": long}
                pool.send(pool.job(1, job), pool.job(2, job))
                self.assertEqual(pool.terminal(), (1, "in doubt"))
                pool.send(about(kit._SKIP, 2), struct.pack("<IQ", kit._HEARTBEAT, 60_000), pool.job(3, job))
                self.open(job["gate"])
                self.assertIsNone(pool.next())
                self.assertEqual(pool.process.wait(LIMIT), 1)

    def ends_with_the_pool(self, code, before):
        with Pool(code) as pool:
            before(pool)
            self.assertGreaterEqual(len(pool.group()), 2)
            pool.process.stdin.close()
            begun = time.monotonic()
            self.assertEqual(pool.process.wait(LIMIT), -signal.SIGKILL)
            self.assertLess(time.monotonic() - begun, 1 + LIMIT / 10)
            eventually(lambda: not pool.group())

    def test_the_pools_end_while_it_waits(self):
        self.ends_with_the_pool(SQUARE, lambda pool: self.assertEqual(pool.next(), READY))

    def test_the_pools_end_while_a_job_keeps_the_lock(self):
        def before(pool):
            self.assertEqual(pool.next(), READY)
            pool.do(1, self.gate)
            self.assertEqual(pool.next(), about(kit._START, 1))

        self.ends_with_the_pool(HOLDING.format("@serve"), before)

    def test_the_pools_end_while_it_starts(self):
        code = """
            import ctypes
            from hirelings_worker import serve, Worker

            @serve
            class Slow(Worker):
                def init(self, options):
                    ctypes.PyDLL(None).sleep(1000)
        """

        def before(pool):
            # Its guard is the one that answers.
            pool.send(struct.pack("<IQ", kit._HEARTBEAT, 60_000))
            self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))

        self.ends_with_the_pool(code, before)

    def test_a_pool_that_has_fallen_silent(self):
        for busy in (False, True):
            with self.subTest(busy=busy), Pool(HOLDING.format("@serve")) as pool:
                self.assertEqual(pool.next(), READY)
                if busy:
                    pool.do(1, self.gate)
                    self.assertEqual(pool.next(), about(kit._START, 1))
                # The limit that counts is not in the first words after Ready: on a busy machine it might be over by then.
                pool.send(heartbeat(600_000))
                self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
                begun = time.monotonic()
                pool.send(heartbeat(300))
                self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
                self.assertEqual(pool.process.wait(LIMIT), -signal.SIGKILL)
                self.assertGreater(time.monotonic() - begun, 0.29)

    def test_a_limit_of_silence_that_is_never_over(self):
        with Pool(HOLDING.format("@serve")) as pool:
            self.assertEqual(pool.next(), READY)
            pool.do(1, self.gate)
            self.assertEqual(pool.next(), about(kit._START, 1))
            pool.send(heartbeat(2**64 - 1))
            self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
            self.open()
            self.assertEqual(pool.answer()[1], 1)
            pool.do(2, None)
            self.assertEqual(pool.answer()[1], 2)

    def both_sides(self):
        """Both ends of a pipe, the shared words, and the main process's and the guard's side of the pipe, in this process."""
        input, pool = os.pipe()
        self.addCleanup(os.close, input)
        self.addCleanup(os.close, pool)
        words = memoryview(bytearray(8 * kit._SHARED_WORDS)).cast("Q")
        main, guard = kit._Link.__new__(kit._Link), kit._Guard.__new__(kit._Guard)
        for one in (main, guard):
            one.input, one.words, one.buffer, one.poller = input, words, bytearray(), select.poll()
            one.poller.register(input, select.POLLIN)
        return input, pool, words, main, guard

    def test_one_that_was_stopped_for_too_long_does_nothing_more(self):
        # It goes on once the pool has given it up, with words in the pipe and a job that it has read.
        input, pool, words, main, guard = self.both_sides()
        main.jobs = collections.deque()
        guard.reads, guard.main_is_gone, guard.commands, guard.looked = True, False, -1, 0
        guard.read_input, guard.watch_silence = unittest.mock.Mock(), unittest.mock.Mock()
        words[kit._SILENCE] = time.monotonic_ns() // 2_000_000
        os.write(pool, b"x")

        def takes_a_job():
            main.jobs.append((7, 1, None, b"", kit._RING))
            words[kit._RING] = 7
            with unittest.mock.patch.object(main, "poller"):
                main.poller.poll.return_value = []
                self.assertEqual(main.next_job()[0], 7)

        acts = (main.fill, lambda: main.fill_whole(1), takes_a_job, guard.step)
        with unittest.mock.patch.object(kit, "_orphaned", side_effect=InterruptedError):
            for act in acts:
                with self.subTest(act):
                    words[kit._HEARD] = 0
                    self.assertRaises(InterruptedError, act)
                    self.assertEqual(words[kit._HEARD], 0)
                    self.assertTrue(select.select([input], [], [], 0)[0])
            guard.read_input.assert_not_called()
            for act in reversed(acts):
                words[kit._HEARD] = time.monotonic_ns()
                os.write(pool, b"x")
                act()
            guard.read_input.assert_called_once()

    def test_one_that_was_stopped_from_its_first_ready_on_does_nothing_more(self):
        code = """
            from hirelings_worker import serve

            @serve
            def run(path):
                open(path, "w").close()
        """
        with Pool(code) as pool:
            self.assertEqual(pool.next(), READY)
            end = time.monotonic() + 0.301
            members = pool.group()
            os.killpg(pool.process.pid, signal.SIGSTOP)
            eventually(lambda: all(state(member) == "T" for member in members))
            pool.send(heartbeat(300), pool.job(1, self.gate))
            eventually(lambda: time.monotonic() >= end)
            os.killpg(pool.process.pid, signal.SIGCONT)
            self.assertEqual(pool.process.wait(LIMIT), -signal.SIGKILL)
            self.assertFalse(os.path.exists(self.gate))

    def test_a_first_limit_is_over_only_where_nothing_was_read_since_ready(self):
        skip = struct.pack("<IIQ", 12, kit._SKIP, 1)
        # What is read before the Heartbeat, what is read with it, its limit, and whether that is over.
        cases = [(b"", b"", 1, True), (b"", skip, 1, True), (skip, b"", 1, False)]
        cases += [(b"", b"", limit, False) for limit in (0, 600_000)]
        for before, beside, limit, is_over in cases:
            for kind in (kit._Link, kit._Guard):
                with self.subTest(before=before, beside=beside, limit=limit, kind=kind):
                    input, pool = os.pipe()
                    self.addCleanup(os.close, input)
                    self.addCleanup(os.close, pool)
                    one = kind.__new__(kind)
                    one.input, one.words = input, memoryview(bytearray(8 * kit._SHARED_WORDS)).cast("Q")
                    one.buffer, one.max_frame, one.held, one.owed = bytearray(), 100, [], collections.deque()
                    one.write, one.wake_guard, one.try_owed = (unittest.mock.Mock() for _ in range(3))
                    one.words[kit._FIRST_READY] = time.monotonic_ns() - 1_000_000_000

                    def reads():
                        if kind is kit._Guard:
                            return one.read_input(time.monotonic_ns())
                        one.fill()
                        one.parse()

                    if before:
                        os.write(pool, before)
                        reads()
                    os.write(pool, beside + struct.pack("<I", 12) + heartbeat(limit))
                    with unittest.mock.patch.object(kit, "_orphaned", side_effect=InterruptedError):
                        if is_over:
                            self.assertRaises(InterruptedError, reads)
                        else:
                            reads()
                    self.assertEqual(one.words[kit._SILENCE], 0 if is_over else limit)

    def test_what_is_noted_as_heard_is_the_time_that_was_looked_at(self):
        # The process may be stopped between two looks at the clock.
        input, pool, words, main, guard = self.both_sides()
        guard.reads, guard.main_is_gone, guard.commands, guard.looked, guard.unread = True, False, -1, 0, 0
        guard.try_owed, guard.next_look = unittest.mock.Mock(), unittest.mock.Mock(return_value=0)
        words[kit._SILENCE], heard, now, late = 1000, 10 * 10**9, 10_500_000_000, 20 * 10**9

        def steps():
            with unittest.mock.patch.object(guard, "watch_silence"):
                guard.step()

        for act in (main.hear, guard.watch_silence, steps):
            with self.subTest(act):
                words[kit._HEARD] = heard
                os.write(pool, b"x")
                times = itertools.chain([now], itertools.repeat(late))
                clock = unittest.mock.patch.object(time, "monotonic_ns", side_effect=times)
                with clock, unittest.mock.patch.object(kit, "_orphaned", side_effect=InterruptedError):
                    act()
                self.assertEqual(words[kit._HEARD], now)
        self.assertEqual(guard.looked, now)

    def test_a_frame_in_parts_is_not_copied_for_each(self):
        input, pool = os.pipe()
        self.addCleanup(os.close, input)
        self.addCleanup(os.close, pool)
        guard = kit._Guard.__new__(kit._Guard)
        guard.input, guard.words = input, memoryview(bytearray(8 * kit._SHARED_WORDS)).cast("Q")
        guard.buffer, guard.held, guard.try_owed = bytearray(), [], unittest.mock.Mock()
        frame = struct.pack("<IIQI", 1016, kit._JOB, 1, 1) + bytes(1000)
        whole, buffer = frame + frame[:500], guard.buffer
        for at in range(0, len(whole), 100):
            os.write(pool, whole[at : at + 100])
            guard.read_input(time.monotonic_ns())
            self.assertIs(guard.buffer, buffer)
        self.assertEqual((guard.held, guard.buffer), ([(1, frame, 0)], frame[:500]))

    def test_a_lock_that_another_thread_holds_is_not_let_go(self):
        lock, held, done = kit._Lock(), threading.Event(), threading.Event()
        self.addCleanup(os.close, lock.file)

        def act():
            held.set()
            done.wait(LIMIT)

        thread = threading.Thread(target=lock.hold, args=(act,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(done.set)
        self.assertTrue(held.wait(LIMIT))
        lock.release()
        self.assertFalse(lock.threads.acquire(blocking=False))
        done.set()
        thread.join(LIMIT)
        self.assertTrue(lock.threads.acquire(blocking=False))
        lock.threads.release()

    def test_words_that_nobody_reads_count_once(self):
        input, pool = os.pipe()
        self.addCleanup(os.close, input)
        self.addCleanup(os.close, pool)
        words = memoryview(bytearray(8 * kit._SHARED_WORDS)).cast("Q")
        guard = kit._Guard.__new__(kit._Guard)
        guard.input, guard.words, guard.unread = input, words, 0
        words[kit._SILENCE] = time.monotonic_ns() // 2_000_000
        with unittest.mock.patch.object(kit, "_orphaned") as lost:
            for _ in range(2):
                words[kit._HEARD], guard.looked = 0, time.monotonic_ns()
                os.write(pool, b"x")
                guard.watch_silence()
                self.assertGreater(words[kit._HEARD], 0)
            guard.watch_silence()
            lost.assert_not_called()
            words[kit._HEARD] = 0
            guard.watch_silence()
            lost.assert_called_once()

    def test_what_cannot_be_understood(self):
        for frame in [struct.pack("<I", 99), b"", struct.pack("<IQ", kit._JOB, 1), b"\1\2"]:
            with self.subTest(frame), Pool(SQUARE) as pool:
                self.assertEqual(pool.next(), READY)
                pool.send(frame)
                job, message = pool.terminal()
                self.assertIsNone(job)
                self.assertIn("the pool wrote", message)
                self.assertEqual(pool.process.wait(LIMIT), 1)


class Interrupted(BaseException):
    pass


class Signals(unittest.TestCase):
    """A signal handler raises an exception between two bytecodes of the kit's, in the midst of a progress."""

    OWED = about(kit._SKIPPED, 2)

    def setUp(self):
        self.output, output = os.pipe()
        self.from_guard, self.guard = os.pipe()
        os.set_blocking(self.output, False)
        link = self.link = kit._Link.__new__(kit._Link)
        link.output, link.from_guard, link.send_guard = output, self.from_guard, self.guard_says
        link.words = memoryview(bytearray(8 * kit._SHARED_WORDS)).cast("Q")
        link.lock, link.codec, link.max_frame, link.buffer, link.owed = kit._Lock(), kit._Json, 100, b"", b""
        for descriptor in (self.output, output, self.from_guard, self.guard, link.lock.file):
            self.addCleanup(os.close, descriptor)
        link.words[kit._HAS_JOB], link.words[kit._JOB_ID] = 1, 1
        link.current = kit.Context(link, 1, 1, None)

    def guard_says(self, _):
        """That it owes nothing more."""
        while select.select([self.from_guard], [], [], 0)[0]:
            os.read(self.from_guard, 1)  # of an exchange that was interrupted
        os.write(self.guard, kit._HANDED_OVER.pack(0, 0))

    def written(self):
        try:
            return os.read(self.output, 1 << 16)
        except BlockingIOError:
            return b""

    def interrupted(self, after):
        """Tells a progress, and is interrupted after so many bytecodes; whether it was not done by then."""

        def trace(frame, event, _):
            nonlocal after
            if frame.f_code.co_filename != kit.__file__:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                if not after:
                    raise Interrupted
                after -= 1
            return trace

        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # in 3.12 it counts from the next settrace on
        sys.settrace(trace)
        try:
            self.link.current.progress("told")
        except Interrupted:
            return True
        finally:
            sys.settrace(before)
        return False

    def assert_is_free(self, lock):
        self.assertFalse(lock.threads._is_owned())
        child = os.fork()
        if not child:
            os._exit(not lock.try_acquire())
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_one_between_any_two_bytecodes_keeps_no_lock(self):
        words = self.link.words
        for after in itertools.count():
            words[kit._STARTED] = 0
            was_interrupted = self.interrupted(after)
            self.assert_is_free(self.link.lock)
            # What the pool has not heard of is still to be announced.
            self.assertLessEqual(words[kit._STARTED], bool(self.written()), after)
            if not was_interrupted:
                break
        self.assertGreater(after, 50)

    def test_one_between_any_two_bytecodes_has_what_is_owed_written_once(self):
        for after in itertools.count():
            self.link.owed = self.OWED
            try:
                with unittest.mock.patch.object(kit, "_exit_with", side_effect=SystemExit):
                    was_interrupted = self.interrupted(after)
            except SystemExit:
                self.assertEqual(self.written(), b"", after)
                continue
            self.link.current.progress("again")
            self.assertEqual(self.written().count(self.OWED), 1, after)
            if not was_interrupted:
                break
        self.assertGreater(after, 50)


# A handler that does what its job says: it waits for a file, writes a progress whose frame has so many bytes, makes a file.
# Then it answers, with a frame of so many bytes or with whether it was cancelled.
TELLING = """
    import os, time
    from hirelings_worker import serve

    @serve
    def run(job, ctx):
        for kind, what in job["steps"]:
            if kind == "wait":
                while not os.path.exists(what):
                    time.sleep(0.001)
            elif kind == "tell":
                ctx.progress("x" * (what - 18))
            else:
                open(what, "w").close()
        return "x" * (job["answer"] - 19) if job["answer"] else ctx.is_cancelled()
"""

# A handler that writes a progress whose frame has so many bytes, and another once a file is there. A signal interrupts the
# latter in a certain function of the kit's, once it has passed there so often. Then comes a third, which none interrupts.
INTERRUPTED = """
    import os, signal, time
    from hirelings_worker import serve

    class Interrupted(Exception):
        pass

    def make(path):
        open(path, "w").close()

    def wait(path):
        while not os.path.exists(path):
            time.sleep(0.001)

    @serve
    def run(job, ctx):
        passes = job["passes"]

        def interrupt(_, frame):
            nonlocal passes
            if frame.f_code.co_name == job["function"]:
                if not passes:
                    raise Interrupted
                passes -= 1
                make(job["passed"])

        signal.signal(signal.SIGUSR1, interrupt)
        wait(job["first"])
        ctx.progress("x" * (job["fill"] - 18))
        wait(job["second"])
        try:
            ctx.progress("x" * (job["tell"] - 18))
        except Interrupted:
            job["function"] = None
            make(job["caught"])
            ctx.progress("again")
"""

FULL = mmap.PAGESIZE  # what the worker's output holds here
F_SETPIPE_SZ = 1031  # as fcntl has it, from Python 3.10 on


class Stalls(unittest.TestCase):
    """The worker's output is full and nobody reads it, as where the connection to another machine is lost."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        paths = (os.path.join(folder.name, name) for name in ("first", "second", "made", "passed", "caught"))
        self.first, self.second, self.made, self.passed, self.caught = paths

    def open(self, path):
        open(path, "w").close()

    def worker(self, code=TELLING):
        pool = Pool(code)
        self.addCleanup(pool.__exit__)
        self.assertEqual(pool.next(), READY)
        fcntl.fcntl(pool.process.stdout, F_SETPIPE_SZ, FULL)
        return pool

    def job(self, pool, number, *steps, answer=0):
        return pool.job(number, {"steps": steps, "answer": answer})

    def begin(self, pool, *jobs):
        """Sends jobs, the first of which waits for the first file. It is announced, so that no Start follows."""
        pool.send(*jobs)
        self.assertEqual(pool.next(), about(kit._START, 1))

    def silence(self, pool, limit):
        pool.send(heartbeat(limit))
        self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))

    def fill(self, pool):
        """Lets the first job go on until the output is full."""
        self.open(self.first)
        eventually(lambda: unread(pool.process.stdout) == FULL)

    def is_read(self, pool):
        eventually(lambda: unread(pool.process.stdin) == 0)

    def ends(self, pool):
        self.assertEqual(pool.process.wait(LIMIT), -signal.SIGKILL)
        eventually(lambda: not pool.group())

    def test_silence_while_a_progress_is_written(self):
        pool = self.worker()
        self.begin(pool, self.job(pool, 1, ("wait", self.first), ("tell", 2 * FULL)))
        self.silence(pool, 1000)
        self.fill(pool)
        begun = time.monotonic()
        pool.send(about(kit._SKIP, 2), heartbeat(1000))
        self.is_read(pool)
        self.ends(pool)
        self.assertGreater(time.monotonic() - begun, 0.99)

    def test_a_long_answer_is_no_silence(self):
        # Of a job that is done before the guard reads. Behind it comes one that is longer than the input.
        pool = self.worker()
        self.silence(pool, 600_000)
        self.silence(pool, 1000)
        pool.send(self.job(pool, 1, answer=8 * FULL))
        eventually(lambda: unread(pool.process.stdout) == FULL)
        pool.send(self.job(pool, 2, *[("tell", 0)] * 10_000))
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            pool.send(heartbeat(1000))
            with self.assertRaises(subprocess.TimeoutExpired):
                pool.process.wait(0.2)
        self.assertEqual(pool.answer()[:2], (kit._SUCCESS, 1))

    def test_what_is_owed_is_written_before_the_next_progress(self):
        pool = self.worker()
        tells = ("tell", FULL), ("wait", self.second), ("make", self.made), ("tell", 3 * FULL)
        self.begin(pool, self.job(pool, 1, ("wait", self.first), *tells), self.job(pool, 2))
        self.fill(pool)
        pool.send(about(kit._SKIP, 2))
        self.is_read(pool)
        self.open(self.second)
        eventually(lambda: os.path.exists(self.made))
        kinds = [pool.next()[:4] for _ in range(3)]
        self.assertEqual(kinds, [struct.pack("<I", kind) for kind in (kit._PROGRESS, kit._SKIPPED, kit._PROGRESS)])
        self.assertEqual(pool.answer()[:2], (kit._SUCCESS, 1))

    def test_silence_while_a_job_runs(self):
        pool = self.worker()
        self.begin(pool, self.job(pool, 1, ("wait", self.first), ("tell", FULL), ("wait", self.second)))
        self.fill(pool)
        pool.send(self.job(pool, 2), about(kit._SKIP, 2), heartbeat(300))
        self.is_read(pool)
        self.ends(pool)

    def test_silence_while_a_job_is_not_announced(self):
        pool = self.worker()
        first = self.job(pool, 1, ("wait", self.first), answer=FULL)
        self.begin(pool, first, self.job(pool, 2, ("wait", self.second)))
        self.silence(pool, 1000)
        self.fill(pool)
        self.ends(pool)

    def test_silence_while_a_heartbeat_is_answered(self):
        pool = self.worker()
        self.begin(pool, self.job(pool, 1, ("wait", self.first), answer=FULL))
        self.fill(pool)
        pool.send(heartbeat(300))
        self.is_read(pool)
        self.ends(pool)

    def test_silence_while_a_skip_is_answered(self):
        pool = self.worker()
        self.begin(pool, self.job(pool, 1, ("wait", self.first), answer=FULL))
        self.silence(pool, 1000)
        self.fill(pool)
        pool.send(self.job(pool, 2), about(kit._SKIP, 2))
        self.is_read(pool)
        pool.send(heartbeat(1000))
        self.assertGreater(unread(pool.process.stdin), 0)
        self.ends(pool)

    def owes_answers(self, *steps):
        """A worker that could not answer while its first job runs."""
        pool = self.worker()
        first = self.job(pool, 1, ("wait", self.first), ("tell", FULL), ("wait", self.second), *steps)
        self.begin(pool, first, self.job(pool, 2))
        self.fill(pool)
        pool.send(self.job(pool, 3), about(kit._SKIP, 3), about(kit._SKIP, 2), self.job(pool, 4), heartbeat(60_000))
        pool.send(struct.pack("<IQQ", kit._CANCEL, 1, 60_000))
        self.is_read(pool)
        return pool, [about(kit._SKIPPED, 3), about(kit._SKIPPED, 2), struct.pack("<I", kit._ALIVE)]

    def test_what_is_owed_is_written_while_the_job_runs(self):
        pool, owed = self.owes_answers()
        self.assertEqual(pool.next()[:4], struct.pack("<I", kit._PROGRESS))
        self.assertEqual([pool.next() for _ in owed], owed)
        self.open(self.second)
        # The Cancel behind the answers that are owed was seen as well.
        self.assertEqual(pool.answer(), (kit._SUCCESS, 1, True, b"true"))
        self.assertEqual(pool.answer(), (kit._SUCCESS, 4, True, b"false"))

    def test_what_is_owed_is_written_before_the_next_job(self):
        pool, owed = self.owes_answers(("make", self.made))
        self.open(self.second)
        eventually(lambda: os.path.exists(self.made))
        self.assertEqual(pool.next()[:4], struct.pack("<I", kit._PROGRESS))
        said = [pool.next() for _ in range(len(owed) + 1)]
        # Whether the answer or what is owed comes first is a matter of chance.
        said.remove(about(kit._SUCCESS, 1) + b"\1true")
        self.assertEqual(said, owed)
        self.assertEqual(pool.answer(), (kit._SUCCESS, 4, True, b"false"))

    def interrupted(self, function, passes, fill, tell):
        """A worker that is to be interrupted, and has begun."""
        pool = self.worker(INTERRUPTED)
        paths = {"first": self.first, "second": self.second, "passed": self.passed, "caught": self.caught}
        job = pool.job(1, {"function": function, "passes": passes, "fill": fill, "tell": tell, **paths})
        self.begin(pool, job, pool.job(2, None))
        return pool

    def interrupt(self, pool, done):
        """Sends signals until that is done."""

        def is_done():
            pool.process.send_signal(signal.SIGUSR1)
            return done()

        eventually(is_done)

    def ends_interrupted(self, pool):
        self.interrupt(pool, lambda: pool.process.poll() is not None or os.path.exists(self.caught))
        self.assertFalse(os.path.exists(self.caught))
        self.assertEqual(pool.process.wait(LIMIT), 2)

    def test_a_frame_that_is_cut_is_the_last(self):
        # So little is left of it that a frame of that length would be written whole, or not at all.
        pool = self.interrupted("write", 1, fill=100, tell=FULL + 100)
        self.open(self.first)
        self.assertEqual(pool.next()[:4], struct.pack("<I", kit._PROGRESS))
        self.open(self.second)
        eventually(lambda: unread(pool.process.stdout) == FULL)
        self.interrupt(pool, lambda: os.path.exists(self.passed))
        self.ends_interrupted(pool)

    def test_what_is_owed_outlasts_a_signal(self):
        pool = self.interrupted("write_owed", 0, fill=FULL, tell=100)
        self.fill(pool)
        pool.send(about(kit._SKIP, 2))
        self.is_read(pool)
        self.open(self.second)
        self.interrupt(pool, lambda: os.path.exists(self.caught))
        kinds = [pool.next()[:4] for _ in range(3)]
        self.assertEqual(kinds, [struct.pack("<I", kind) for kind in (kit._PROGRESS, kit._SKIPPED, kit._PROGRESS)])
        self.assertEqual(pool.answer()[:2], (kit._SUCCESS, 1))

    def test_an_exchange_with_the_guard_that_is_interrupted_ends_the_process(self):
        pool = self.interrupted("ask_guard", 0, fill=FULL, tell=100)
        self.fill(pool)
        for job in (2, 3):
            # It has taken in the first once it has read the second.
            pool.send(about(kit._SKIP, job))
            self.is_read(pool)
        (guard,) = set(pool.group()) - {pool.process.pid}
        os.kill(guard, signal.SIGSTOP)
        eventually(lambda: state(guard) == "T")
        self.open(self.second)
        self.ends_interrupted(pool)

    def test_a_start_is_written_once_there_is_room(self):
        pool = self.worker()
        first = self.job(pool, 1, ("wait", self.first), answer=FULL)
        self.begin(pool, first, self.job(pool, 2, ("make", self.made), ("wait", self.second)))
        self.fill(pool)
        eventually(lambda: os.path.exists(self.made))
        # The guard reads only once it has had the lock, and room for the Start was not there.
        pool.send(heartbeat(60_000))
        self.is_read(pool)
        self.assertEqual(pool.answer()[:2], (kit._SUCCESS, 1))
        self.assertEqual(pool.next(), about(kit._START, 2))
        self.assertEqual(pool.next(), struct.pack("<I", kit._ALIVE))
        self.open(self.second)
        self.assertEqual(pool.answer(), (kit._SUCCESS, 2, True, b"false"))


if __name__ == "__main__":
    unittest.main()
