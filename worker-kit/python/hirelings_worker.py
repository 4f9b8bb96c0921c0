"""The worker's side of hirelings, a work queue on child processes, for Python.

A worker is a script that a pool of a Rust program starts. Its last statement serves jobs::

    from hirelings_worker import serve

    @serve
    def run(job, ctx):
        return job["n"] ** 2

Jobs, outputs, progress, errors and options are JSON; the pool asks for it with ``codec(Codec::Json)``. README.md, beside
this file, has the rest.

How it works: the main process runs the handler, reads jobs and writes answers itself. Beside it stands one small process,
the guard, which is forked before your code runs and has no interpreter lock to wait for. It ends the process group when
the pool is gone. While a handler runs for more than about a millisecond it also announces the start, answers what the pool
asks, and reads what arrives. The two share one page of memory, a lock on a file, and two pipes.
"""

from __future__ import annotations

import base64
import collections
import errno
import fcntl
import gc
import json
import mmap
import os
import select
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterator, NoReturn, Optional, Tuple

__all__ = ["Context", "Failed", "Panic", "Worker", "serve"]
__version__ = "0.1.0"

# ---------------------------------------------------------------- the protocol's numbers

_MAGIC = b"hireling"
_LOWEST, _HIGHEST = 1, 2
_FROM_WORKER, _ANSWERS_RECALLS = 1, 2
_INIT, _JOB, _SKIP, _LEAVE, _CANCEL, _TIMED_JOB, _HEARTBEAT = range(7)
_READY, _START, _PROGRESS, _SUCCESS, _FAILURE, _UNUSABLE, _TERMINAL, _SKIPPED, _RETIRE, _FINAL_FAILURE, _ALIVE = range(11)
_DECODE_JOB, _ENCODE_OUTPUT, _ENCODE_ERROR, _ENCODE_PROGRESS = range(4)

_LENGTH_AND_KIND = struct.Struct("<II")
_SHORTEST = (4, 16, 12, 4, 20, 24, 12)  # what a pool's message has at least, by its kind
_ID = struct.Struct("<Q")
_JOB_HEAD = struct.Struct("<QI")
_TIMED_JOB_HEAD = struct.Struct("<QIQ")
_CANCEL_HEAD = struct.Struct("<QQ")
_HANDED_OVER = struct.Struct("<QQ")  # how long the two parts are that the guard hands to the main process
_ABOUT_JOB = struct.Struct("<IIQ")  # a frame of a message that names a job, up to its payload
_ANSWER = struct.Struct("<IIQ?")  # the same of an answer

_READ = 64 * 1024  # bytes that are asked for in one read: what a pipe holds
_TICK_MS = 1  # a handler that runs at two ticks in a row is announced
_LONGEST_POLL_MS = 2**31 - 1  # poll(2) takes an int
_LOOKS = 8  # how often, in the time that the pool may be silent, the guard looks whether something has arrived

# ---------------------------------------------------------------- the shared page

# Its words, of 64 bits each. All but HELLO_READ, SILENCE, HEARD, OWES and FIRST_READY are read and written under the lock; or
# by the guard while the input is its own, when the main process is in user code or in a write, and goes by none that the
# pool's words change.
_TURN = 0  # odd while user code runs; it grows at each start and end
_JOB_ID, _HAS_JOB = 1, 2  # the job that runs, if one does
_STARTED = 3  # whether the pool knows that it has begun
_OWNER = 4  # who reads the protocol's input: 0 is the main process, 1 the guard
_AWAKE = 5  # whether the guard ticks
_CANCELLED = 6  # whether the pool does not want the running job any more
_RETIRED = 7  # whether the worker skips whatever arrives
_HELLO_READ = 8  # whether the hello of a pool has been read
_SILENCE = 9  # how long the pool may be silent, in milliseconds; 0: for ever
_HEARD = 10  # when something was last read, or was seen to have arrived, in nanoseconds of the monotonic clock
_HEAD, _TAIL = 11, 12  # of the ring below, counted without end
_ENDED = 13  # whether the last message is written: nothing follows it
_UNTIL = 14  # when the worker is killed if the running job, which was cancelled, is not answered; as HEARD; 0: never
_OWES = 15  # whether the guard owes the pool something for which there was no room
_FIRST_READY = 16  # when the first Ready was written, until something is read after it; as HEARD; 0: not so
_RING = 17  # the numbers of the jobs that the main process has read and not begun
_RING_LENGTH = 1 << 16
_SKIPPED_ID = 2**64 - 1  # in place of the number of a job that was skipped
_SHARED_WORDS = _RING + _RING_LENGTH


class _Lock:
    """A lock between two processes, and between the threads of each. It is let go with the process that holds it."""

    def __init__(self) -> None:
        try:
            self.file = os.memfd_create("hirelings-worker")
        except (AttributeError, OSError):
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())
        self.threads = threading.RLock()  # which says whether this thread holds it, and is taken once only

    def hold(self, act: Callable[[], Any]) -> Any:
        """Does that with the lock held. A signal handler of the user's may raise an exception between any two steps of the
        main thread: all of them that take, keep or release the lock are in the `try`. `act` may release it for a while."""
        if self.threads._is_owned():  # type: ignore[attr-defined]
            # A signal handler of the user's has interrupted the kit on this thread.
            raise RuntimeError("this cannot be called from a signal handler")
        try:
            self.acquire()
            made = act()
            self.release()
        except BaseException:
            self.release()
            raise
        return made

    def acquire(self) -> None:
        """Only within `hold`, which releases what this has taken when it is interrupted."""
        self.threads.acquire()
        fcntl.lockf(self.file, fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self.threads.acquire()  # which is free: the guard, whose this is, has one thread
        return True

    def release(self) -> None:
        """Releases it, or what this thread holds of it, which may be nothing."""
        if self.threads._is_owned():  # type: ignore[attr-defined]
            if self.file != -1:  # as it is in a child that user code has forked
                fcntl.lockf(self.file, fcntl.LOCK_UN)
            self.threads.release()


# ---------------------------------------------------------------- values of the protocol


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    return _ID.pack(len(data)) + data


def _optional_text(value: Optional[str]) -> bytes:
    return b"\0" if value is None else b"\1" + _text(value)


def _frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


class _Malformed(Exception):
    """The pool wrote what cannot be understood."""


class _Values:
    """Takes values off the front of a message."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise _Malformed("a message that ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        try:
            return self.take(self.number(8)).decode()
        except UnicodeDecodeError:
            raise _Malformed("a text that is not UTF-8") from None


# ---------------------------------------------------------------- payloads


class _Unencodable(TypeError):
    """A progress that cannot be sent; it fails the job unless the handler catches it."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _in_json(value: Any) -> Any:
    """What stands in JSON for a value that has no JSON of its own."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    to_json = getattr(value, "to_json", None)
    if to_json is not None and not isinstance(value, type):
        made = to_json()
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        made = {name: getattr(value, name) for name in value.__dataclass_fields__}
    else:
        raise TypeError(
            f"a {type(value).__name__} has no JSON: make it a dict, a list, a str, a number, a bool, None or bytes, or give "
            "its class a method to_json"
        )
    _check(made)
    return made


def _check(value: Any) -> None:
    """Refuses what json.dumps would write as something else: keys that are not texts, and numbers that do not fit."""
    kind = value.__class__
    if kind is str or kind is float or value is None or kind is bool:
        return
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise OverflowError(f"{value} has more than 64 bits")
    elif isinstance(value, dict):
        kinds = set(map(type, value))
        if kinds and kinds != {str} and kinds != {int}:
            for test in (str, int):
                if all(issubclass(kind, test) and kind is not bool for kind in kinds):
                    break
            else:
                names = ", ".join(sorted(kind.__name__ for kind in kinds))
                raise TypeError(f"the keys of a dict must all be str, or all int; here they are {names}")
        for part in value.values():
            if part.__class__ is not str:
                _check(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            if part.__class__ is not float:
                _check(part)


_encode_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_in_json
).encode
_decode_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


class _Json:
    name = "json"

    @staticmethod
    def decode(payload: bytes) -> Any:
        return _decode_json(payload.decode())

    @staticmethod
    def encode(value: Any) -> bytes:
        _check(value)
        try:
            return _encode_json(value).encode()
        except ValueError as error:
            if str(error).startswith("Out of range float"):
                raise ValueError("it holds a NaN or an infinity, which JSON does not have") from None
            raise

    @staticmethod
    def options(payload: Optional[bytes]) -> Any:
        return None if payload is None else _Json.decode(payload)

    @staticmethod
    def error(text: str) -> bytes:
        return _encode_json(text.encode("utf-8", "replace").decode()).encode()


class _Bincode:
    """The bytes are the handler's own matter."""

    name = "bincode"

    @staticmethod
    def decode(payload: bytes) -> bytes:
        return payload

    @staticmethod
    def encode(value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"with codec='bincode' this must be bytes, not {type(value).__name__}")
        return bytes(value)

    @staticmethod
    def options(payload: Optional[bytes]) -> Optional[bytes]:
        return payload

    @staticmethod
    def error(text: str) -> bytes:
        return _text(text)


_CODECS = {"json": _Json, "bincode": _Bincode}

# ---------------------------------------------------------------- what a handler uses


class Failed(Exception):
    """The job's own error, exactly: ``raise Failed("no such page")``, or any value that the pool's error type reads."""

    def __init__(self, error: Any = None) -> None:
        super().__init__(error)
        self.error = error


class Panic(BaseException):
    """The process is in doubt: it fails the job as panicked, ends, and is replaced. No ``except Exception`` catches it."""


def _until(within: int) -> int:
    """When so many milliseconds are over, as _UNTIL has it."""
    until = time.monotonic_ns() + within * 1_000_000
    return until if until < 2**64 else 0


def _cancel_running(words: memoryview, until: int) -> None:
    words[_CANCELLED] = 1
    if until and (not words[_UNTIL] or until < words[_UNTIL]):
        words[_UNTIL] = until


class Context:
    """What a handler can ask and say of its job while it runs."""

    __slots__ = ("_link", "_job", "_attempt", "_limit_ms", "_began", "_retire", "_no_retry")

    def __init__(self, link: _Link, job: int, attempt: int, limit_ms: Optional[int]) -> None:
        self._link, self._job, self._attempt, self._limit_ms = link, job, attempt, limit_ms
        self._began = time.monotonic()
        self._retire = self._no_retry = False

    @property
    def job_id(self) -> int:
        """The job's number, unique in its pool; the same in each attempt."""
        return self._job

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt

    def progress(self, progress: Any) -> None:
        """Sends a progress to the pool. It is written at once, and blocks while the pool does not read.

        Any thread may call it while the job runs; after that it raises RuntimeError. What cannot be encoded, or is longer
        than the pool's ``max_frame``, raises TypeError, which fails the job unless the handler catches it.
        """
        link = self._link
        try:
            payload = link.codec.encode(progress)
        except Exception as error:
            raise _Unencodable(f"the progress cannot be encoded: {error}") from error
        if len(payload) + 12 > link.max_frame:
            raise _Unencodable(f"the progress is over the frame limit of {link.max_frame} bytes")
        link.lock.hold(lambda: self._write_progress(payload))

    def _write_progress(self, payload: bytes) -> None:
        link, words = self._link, self._link.words
        if not words[_HAS_JOB] or words[_JOB_ID] != self._job or link.current is not self:
            raise RuntimeError(f"job {self._job} is over: nothing more can be said of it")
        if words[_OWES] or link.owed:
            # Where one progress follows another, the guard may never find room.
            link.ask_guard(b"O")
        link.write(_ABOUT_JOB.pack(len(payload) + 12, _PROGRESS, self._job) + payload)
        # Where a signal handler interrupts this, the guard writes a Start, if need be behind the progress: both are allowed.
        words[_STARTED] = 1

    def retire(self) -> None:
        """Replace me after this job: the process takes no other, and leaves once the pool has its answer."""
        self._retire = True

    def no_retry(self) -> None:
        """If this attempt fails, the job is not retried. A pool of protocol version 1 does not hear it."""
        self._no_retry = True

    def is_cancelled(self) -> bool:
        """Whether the pool has asked this job to come to an end: its caller does not want it, or its soft limit is over.

        It is a request: what the handler returns after that counts like any other answer. It shows some milliseconds after
        the request, also in a job that was cancelled before it began.
        """
        return bool(self._link.words[_CANCELLED]) and self._link.current is self

    def deadline(self) -> Optional[float]:
        """Until when the pool lets this attempt work, on the clock of ``time.monotonic()``; None where it has no limit.

        A job that was cancelled may have until an earlier time.
        """
        limit = None if self._limit_ms is None else self._began + self._limit_ms / 1000
        until = self._link.words[_UNTIL] if self._link.current is self else 0
        if not until:
            return limit
        return until / 1e9 if limit is None else min(limit, until / 1e9)

    def __repr__(self) -> str:
        return f"Context(job_id={self._job}, attempt={self._attempt})"


class Worker:
    """A worker with state, options, or something to do between jobs; give the class to `serve`."""

    name: str = ""
    """The job type's name, as the pool's `Job::name` says it. Empty: whatever the pool has."""
    codec: str = "json"
    """``"json"``, or ``"bincode"``: then jobs, outputs, progress, errors and options are bytes, which you make yourself."""

    def init(self, options: Any) -> None:
        """Called once before the first job, with the options of the pool's builder; None where it was given none.

        An exception is a failed start, which the pool quotes and tries again.
        """

    def run(self, job: Any, ctx: Context) -> Any:
        """Does one job. What it returns is the output; an exception is the job's error."""
        raise NotImplementedError("a Worker needs a method run(self, job, ctx)")

    def recover(self) -> None:
        """Called between a job's answer and the next job. An exception replaces the process; the answer stands."""


# ---------------------------------------------------------------- the main process's end


_NO_HELLO = "its standard input ended without a hello: this program is a worker, which a pool starts"


def _orphaned(words: memoryview) -> NoReturn:
    """The pool is gone: nobody is left to work for."""
    if words[_HELLO_READ]:
        os.kill(0, signal.SIGKILL)
    _exit_with(_NO_HELLO)


def _exit_with(message: str) -> NoReturn:
    """Ends the process at once, with 2."""
    try:
        os.write(2, f"hirelings worker: {message}\n".encode())
    finally:
        os._exit(2)


class _Link:
    """The main process's end of the protocol."""

    def __init__(self) -> None:
        self.input, self.output = os.dup(0), os.dup(1)  # neither is inherited by what is spawned
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self.pid = os.getpid()
        self.page = mmap.mmap(-1, 8 * _SHARED_WORDS)
        self.words = memoryview(self.page).cast("Q")
        self.lock = _Lock()
        self.buffer: bytes = b""  # what was read and is not a whole frame yet
        self.owed = b""  # what the guard owed the pool, until it is written
        self.nothing_since = 0  # as `_take_first_ready` had it at the last read
        self.jobs: Deque[Tuple[int, int, Optional[int], bytes, int]] = collections.deque()
        self.cancelled: Dict[int, int] = {}  # jobs that were cancelled before they have begun, and until when each has
        self.leaving = False
        self.max_frame = 2**32 - 1
        self.version = 1
        self.codec: Any = _Json
        self.current: Optional[Context] = None
        self.poller = select.poll()
        self.poller.register(self.input, select.POLLIN)
        self.to_guard, self.from_guard = self.start_guard()
        os.register_at_fork(after_in_child=self.forked)

    # -- the guard

    def start_guard(self) -> Tuple[int, int]:
        """Forks the guard. It is nobody's child, so that no wait of the user's finds it."""
        its_input, to_guard = os.pipe()
        from_guard, its_output = os.pipe()
        with warnings.catch_warnings():
            # The guard runs nothing of what other threads may hold a lock on.
            warnings.simplefilter("ignore", DeprecationWarning)
            between = os.fork()
            if between == 0:
                try:
                    if os.fork() == 0:
                        _Guard(self, its_input, its_output).run()
                    os._exit(0)
                except BaseException:
                    os._exit(1)
        os.close(its_input)
        os.close(its_output)
        if os.waitpid(between, 0)[1] != 0:
            raise OSError("the guard process cannot be started")
        return to_guard, from_guard

    def wake_guard(self) -> None:
        self.words[_AWAKE] = 1
        self.send_guard(b"W")

    def send_guard(self, byte: bytes) -> None:
        try:
            os.write(self.to_guard, byte)
        except BrokenPipeError:
            self.guard_is_gone()

    def guard_is_gone(self) -> NoReturn:
        _exit_with("the guard process is gone")

    def lend_input(self) -> None:
        """Has the guard read while this process is in a long write. The lock is held, and what was read is parsed."""
        self.words[_OWNER] = 1
        self.send_guard(b"L")

    def reclaim_input(self) -> None:
        """Takes the input back from the guard, what it has read, and what it owes the pool. The lock is held."""
        self.ask_guard(b"R")
        self.words[_OWNER] = 0
        self.parse()

    def ask_guard(self, byte: bytes) -> None:
        """Takes from the guard what it owes the pool, and what it has read, and writes the former: before anything of the
        next job, as the pool goes by the order."""
        try:
            self.send_guard(byte)
            data, lengths = bytearray(), None
            while lengths is None or len(data) < sum(lengths):
                read = os.read(self.from_guard, _READ)
                if not read:
                    self.guard_is_gone()
                data += read
                if lengths is None and len(data) >= _HANDED_OVER.size:
                    lengths = _HANDED_OVER.unpack_from(data)
                    del data[: _HANDED_OVER.size]
            self.owed += data[: lengths[0]]
            self.buffer += data[lengths[0] :]
        except BaseException:
            # A signal handler of the user's. What the guard has let go of may be lost.
            _exit_with("a signal handler has interrupted the exchange with the guard process")
        self.write_owed()

    def forked(self) -> None:
        """This process is a child that user code has forked: the protocol is not its own."""
        for descriptor in (self.input, self.output, self.to_guard, self.from_guard, self.lock.file):
            try:
                os.close(descriptor)
            except OSError:
                pass
        self.input = self.output = self.to_guard = self.from_guard = self.lock.file = -1
        self.current = None

    # -- writing, with the lock held or before there are two

    def write(self, data: bytes) -> None:
        is_short = len(data) <= select.PIPE_BUF
        if not is_short and self.words[_SILENCE] and not self.words[_OWNER]:
            self.lend_input()
        try:
            written = os.write(self.output, data)
            while written < len(data):
                data = memoryview(data)[written:]
                written = os.write(self.output, data)
        except BrokenPipeError:
            _orphaned(self.words)
        except BaseException:
            # A signal handler of the user's. A frame that is short was written whole, or not at all.
            if not is_short:
                _exit_with("a signal handler has interrupted an answer")
            raise

    def write_owed(self) -> None:
        """Writes what the guard owed the pool. Where a signal handler of the user's interrupts this before anything is written,
        it is written the next time."""
        owed = self.owed
        counts: list = []
        try:
            while sum(counts) < len(owed):
                # One call of C writes, and notes how much: no signal handler runs between the two.
                counts.extend(map(os.write, (self.output,), (owed[sum(counts) :],)))
            self.owed = b""
        except BrokenPipeError:
            _orphaned(self.words)
        except BaseException:
            if sum(counts) == len(owed):
                self.owed = b""
            elif counts:
                _exit_with("a signal handler has interrupted an answer")
            raise

    def say_first_ready(self) -> None:
        self.words[_FIRST_READY] = time.monotonic_ns()
        self.write(_LENGTH_AND_KIND.pack(4, _READY))

    def say_terminal(self, message: str, location: Optional[str] = None, trace: Optional[str] = None) -> None:
        """Writes the last message; the lock is held."""
        room = self.max_frame // 16  # characters of up to four bytes
        job = b"\1" + _ID.pack(self.words[_JOB_ID]) if self.words[_HAS_JOB] else b"\0"
        texts = _text(message[:room]) + b"".join(_optional_text(text and text[:room]) for text in (location, trace))
        self.words[_ENDED], self.words[_HAS_JOB] = 1, 0
        self.write(_frame(struct.pack("<I", _TERMINAL) + job + texts))

    # -- reading, with the lock held

    def hear(self) -> None:
        """Notes that something has arrived and is about to be read, if it is in time."""
        self.nothing_since = _take_first_ready(self.words)
        if self.words[_SILENCE]:
            self.words[_HEARD] = self.check_silence()

    def check_silence(self) -> int:
        """Ends a process that was stopped for longer than the pool may be silent: it has replied to nothing, so the pool has
        given it up, and may be trying its jobs elsewhere. Gives the time that it has gone by."""
        now = time.monotonic_ns()
        if _is_over(self.words, self.words[_HEARD], now):
            _orphaned(self.words)
        return now

    def fill(self) -> None:
        self.hear()
        data = os.read(self.input, _READ)
        if not data:
            _orphaned(self.words)
        self.buffer = self.buffer + data if self.buffer else data

    def fill_whole(self, length: int) -> None:
        """Reads until there are so many bytes. Memory grows as they come, whatever the length says."""
        data = bytearray(self.buffer)
        while len(data) < length:
            self.poller.poll()
            self.hear()
            read = os.read(self.input, min(length - len(data), 1 << 20))
            if not read:
                _orphaned(self.words)
            data += read
        self.buffer = bytes(data)

    def next_frame(self) -> bytes:
        """A frame of the handshake."""
        while len(self.buffer) < 4:
            self.fill()
        (length,) = struct.unpack_from("<I", self.buffer)
        if length > self.max_frame:
            raise _Malformed(f"a frame of {length} bytes, over its limit of {self.max_frame}")
        self.fill_whole(4 + length)
        frame, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
        return frame

    def parse(self) -> None:
        """Takes all frames out of the buffer. One that has arrived in part is waited for, so that what is left in the pipe
        begins with a frame: the guard may read on from there."""
        words, at = self.words, 0
        while at < len(self.buffer):
            data = self.buffer
            left = len(data) - at
            if left >= 8:
                length, kind = _LENGTH_AND_KIND.unpack_from(data, at)
            else:
                length = int.from_bytes(data[at : at + 4], "little") if left >= 4 else None
            if length is not None and not 4 <= length <= self.max_frame:
                raise _Malformed(f"a frame of {length} bytes, over its limit of {self.max_frame} or under 4")
            if length is None or left < 4 + length:
                self.buffer, at = data[at:], 0
                self.fill_whole(4 if length is None else 4 + length)
                continue
            body, at = at + 8, at + 4 + length
            if kind > _HEARTBEAT:
                raise _Malformed(f"an unknown message, {kind}")
            if length < _SHORTEST[kind]:
                raise _Malformed("a message that ends too early")
            if kind == _JOB:
                job, attempt = _JOB_HEAD.unpack_from(data, body)
                self.arrived(job, attempt, None, data[body + 12 : at])
            elif kind == _TIMED_JOB:
                job, attempt, limit = _TIMED_JOB_HEAD.unpack_from(data, body)
                self.arrived(job, attempt, limit, data[body + 20 : at])
            elif kind == _SKIP:
                (job,) = _ID.unpack_from(data, body)
                if _skip_in_ring(words, job):
                    self.write(_ABOUT_JOB.pack(12, _SKIPPED, job))
            elif kind == _CANCEL:
                job, within = _CANCEL_HEAD.unpack_from(data, body)
                if words[_HAS_JOB] and words[_JOB_ID] == job:
                    _cancel_running(words, _until(within))
                elif any(arrived[0] == job for arrived in self.jobs):
                    self.cancelled[job] = _until(within)
            elif kind == _LEAVE:
                self.leaving = True
            elif kind == _HEARTBEAT:
                # Noted before it is answered: the guard must know of it where the answer blocks for ever.
                self.heartbeat(*_ID.unpack_from(data, body))
                self.write(_LENGTH_AND_KIND.pack(4, _ALIVE))
        self.buffer = b""

    def arrived(self, job: int, attempt: int, limit: Optional[int], payload: bytes) -> None:
        words = self.words
        if words[_RETIRED]:
            self.write(_ABOUT_JOB.pack(12, _SKIPPED, job))
            return
        tail = words[_TAIL]
        if tail - words[_HEAD] >= _RING_LENGTH:
            raise _Malformed("more jobs than a worker can hold")
        slot = _RING + tail % _RING_LENGTH
        words[slot] = job
        words[_TAIL] = tail + 1
        self.jobs.append((job, attempt, limit, payload, slot))

    def heartbeat(self, silence: int) -> None:
        words = self.words
        if not words[_SILENCE]:
            # The next ones are noted before they are read.
            words[_HEARD] = _check_first_limit(words, silence, self.nothing_since)
        if words[_SILENCE] != silence:
            words[_SILENCE] = silence
            self.wake_guard()

    def next_job(self) -> Optional[Tuple[int, int, Optional[int], bytes, int]]:
        """Blocks until there is a job to begin; None: leave. All that has arrived is read first. The lock is held when this
        is called and when it returns, and not while it waits."""
        words, jobs, poll = self.words, self.jobs, self.poller.poll
        if words[_OWNER]:
            self.reclaim_input()
        while True:
            if jobs:
                while poll(0):
                    self.fill()
                    self.parse()
            while jobs:
                arrived = jobs.popleft()
                words[_HEAD] += 1
                if words[arrived[4]] == arrived[0]:
                    if words[_SILENCE]:
                        self.check_silence()
                    return arrived
                self.cancelled.pop(arrived[0], None)
            if self.leaving:
                return None
            self.lock.release()
            try:
                # A process that is killed while it waits has taken no job out of the pipe.
                poll()
            finally:
                self.lock.acquire()
            self.fill()
            self.parse()

    # -- turns: user code runs from `begin` to `end`

    def begin(self, job: Optional[int]) -> None:
        words = self.words
        words[_HAS_JOB] = 0 if job is None else 1
        words[_JOB_ID] = job or 0
        words[_STARTED] = 0
        words[_CANCELLED] = words[_UNTIL] = 0
        if self.cancelled and job in self.cancelled:
            _cancel_running(words, self.cancelled.pop(job))
        words[_TURN] += 1
        if not words[_AWAKE]:
            self.wake_guard()

    def end(self) -> None:
        words = self.words
        words[_TURN] += 1
        words[_HAS_JOB] = 0
        self.current = None

    def retire(self) -> None:
        """Says that it retires, and skips what has arrived. The lock is held."""
        words = self.words
        if not words[_STARTED]:
            words[_STARTED] = 1
            self.write(_ABOUT_JOB.pack(12, _START, words[_JOB_ID]))
        if words[_OWNER]:
            self.reclaim_input()
        words[_RETIRED] = 1
        self.write(_LENGTH_AND_KIND.pack(4, _RETIRE))
        for job, _, _, _, slot in self.jobs:
            if words[slot] == job:
                words[slot] = _SKIPPED_ID
                self.write(_ABOUT_JOB.pack(12, _SKIPPED, job))


def _is_over(words: memoryview, since: int, now: int) -> bool:
    """Whether the pool may have been silent no longer since then. Where something was heard now, the same `now` is noted: the
    process may be stopped between two looks at the clock."""
    return now - since > words[_SILENCE] * 1_000_000


def _take_first_ready(words: memoryview) -> int:
    """When the first Ready was written, if what is about to be read is the first thing after it; else 0."""
    at = words[_FIRST_READY]
    if at:
        words[_FIRST_READY] = 0
    return at


def _check_first_limit(words: memoryview, silence: int, nothing_since: int) -> int:
    """As `check_silence`, for the first Heartbeat. Where the first words after the first Ready have brought it, the pool may
    have given the worker up since then; no job can have been sent before."""
    now = time.monotonic_ns()
    if nothing_since and silence and now - nothing_since >= silence * 1_000_000:
        _orphaned(words)
    return now


def _skip_in_ring(words: memoryview, job: int) -> bool:
    """Whether a job that has arrived in the main process was not begun, and will not be now."""
    for at in range(words[_HEAD], words[_TAIL]):
        slot = _RING + at % _RING_LENGTH
        if words[slot] == job:
            words[slot] = _SKIPPED_ID
            return True
    return False


# ---------------------------------------------------------------- the guard's end


def _close_all_but(kept: set) -> None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            descriptors = [int(name) for name in os.listdir(folder)]
        except OSError:
            continue
        for descriptor in descriptors:
            if descriptor not in kept:
                try:
                    os.close(descriptor)
                except OSError:
                    pass  # that of the listing
        return


def _handed_over(frame: bytes, came: int) -> bytes:
    """A frame that the guard has held since then, if that matters: a Cancel, of whose time so much less is left."""
    if not came:
        return frame
    job, within = _CANCEL_HEAD.unpack_from(frame, 8)
    held_ms = (time.monotonic_ns() - came) // 1_000_000 + 1
    return frame[:8] + _CANCEL_HEAD.pack(job, max(0, within - held_ms))


class _Guard:
    """The process beside the main one. It never waits for the lock: the main process may hold it in a write. Nor does it
    wait for the pool to read: where the connection is lost nobody does, and it is the guard that has to notice."""

    def __init__(self, link: _Link, commands: int, answers: int) -> None:
        gc.disable()  # it would copy the pages of all that the main process has made so far
        sys.settrace(None)
        sys.setprofile(None)
        signal.set_wakeup_fd(-1)
        # What asks the worker to end ends the main process, or not: the guard goes with its group or when the pool does.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        _close_all_but({0, 1, 2, link.input, link.output, link.lock.file, commands, answers})
        self.input, self.output = link.input, link.output
        self.commands, self.answers = commands, answers
        self.words, self.lock = link.words, link.lock
        self.poller = select.poll()
        self.poller.register(self.input, 0)  # the hang-up alone
        self.poller.register(self.commands, select.POLLIN)
        self.room = select.poll()  # whether the output takes a frame without blocking
        self.room.register(self.output, select.POLLOUT)
        self.seen = 0  # the turn at the last tick
        self.reads = False  # whether the input is this process's to read
        self.main_is_gone = False
        self.held: list = []  # frames that were read here and are the main process's: job or None, the bytes, when they came
        self.owed: Deque[bytes] = collections.deque()  # answers that are not written yet, in their order
        self.unread = 0  # how many bytes nobody had read at the last look,
        self.looked = 0  # and when that was
        self.buffer = bytearray()  # what was read and is not a whole frame yet; it grows without being copied
        self.nothing_since = 0  # as the main process's

    def run(self) -> NoReturn:
        try:
            while True:
                self.step()
        except BaseException:
            # Without it the main process's promises do not hold: the end of the pipe tells it.
            os._exit(1)

    def step(self) -> None:
        words = self.words
        ticks = words[_AWAKE] and not self.main_is_gone and (not self.reads or self.owes())
        timeout: Optional[float] = _TICK_MS if ticks else None
        if words[_SILENCE] and not ticks:
            timeout = self.next_look()
        events = dict(self.poller.poll(timeout))
        now = time.monotonic_ns()
        if words[_SILENCE] and _is_over(words, max(words[_HEARD], self.looked), now):
            _orphaned(words)  # it was stopped for so long, and so was the main process as a rule: see `check_silence`
        at_input = events.get(self.input, 0)
        gone = at_input & (select.POLLHUP | select.POLLERR | select.POLLNVAL)
        if gone and words[_HELLO_READ]:
            _orphaned(words)
        if gone and self.commands not in events:
            time.sleep(_TICK_MS / 1000)  # the main process reads what there is of a hello, and knows then whose group it is in
        elif self.commands in events:
            self.command()
        elif at_input & select.POLLIN:
            self.read_input(now)
        elif ticks:
            self.tick()
        if words[_SILENCE]:
            self.watch_silence()

    def next_look(self) -> float:
        """In how many milliseconds the guard looks at the input again."""
        over = self.words[_HEARD] + self.words[_SILENCE] * 1_000_000
        left = (over - time.monotonic_ns()) // 1_000_000 + 1
        return max(1, min(left, self.words[_SILENCE] // _LOOKS, _LONGEST_POLL_MS))

    def count_unread(self) -> int:
        return struct.unpack("i", fcntl.ioctl(self.input, termios.FIONREAD, bytes(4)))[0]

    def watch_silence(self) -> None:
        """Ends the group where nothing has come for too long. The main process may be blocked for ever in a write, and hold
        the lock: so what has come counts although nobody reads it, but once, at the first look that finds it."""
        words, now = self.words, time.monotonic_ns()
        if _is_over(words, max(words[_HEARD], self.looked), now):
            _orphaned(words)  # it was stopped since it looked
        before, self.unread = self.unread, self.count_unread()
        if self.unread > before:
            words[_HEARD] = max(words[_HEARD], now)  # the main process may have heard more meanwhile
        elif _is_over(words, words[_HEARD], now):
            _orphaned(words)
        self.looked = now

    def command(self) -> None:
        byte = os.read(self.commands, 1)
        if byte in (b"R", b"O"):
            owed, read = b"".join(self.owed), b""
            self.owed.clear()
            self.words[_OWES] = 0
            if byte == b"R":
                read = b"".join(_handed_over(frame, came) for _, frame, came in self.held) + self.buffer
                self.held, self.buffer = [], bytearray()
                self.stop_reading()
            data = memoryview(_HANDED_OVER.pack(len(owed), len(read)) + owed + read)
            while data:
                data = data[os.write(self.answers, data) :]
        elif byte == b"L":
            self.start_reading()
        elif not byte:
            # The main process has ended, or has become another program. The pool ends what is left of the group, or is gone.
            if not self.words[_HELLO_READ]:
                os._exit(0)
            self.main_is_gone = True
            self.stop_reading()
            self.poller.unregister(self.commands)
            os.close(self.output)

    def start_reading(self) -> None:
        self.reads = True
        self.poller.modify(self.input, select.POLLIN)

    def stop_reading(self) -> None:
        self.reads = False
        self.poller.modify(self.input, 0)

    def tick(self) -> None:
        words = self.words
        if self.reads:
            self.try_owed()
            return
        turn = words[_TURN]
        if turn != self.seen:
            self.seen = turn
            return
        if not self.lock.try_acquire():
            return
        try:
            if words[_TURN] != turn:
                return
            if turn % 2 == 0 or words[_ENDED]:
                words[_AWAKE] = 0
                return
            self.write_owed()
            words[_OWNER] = 1
            self.start_reading()
        finally:
            self.lock.release()

    def read_input(self, now: int) -> None:
        """Without the lock: the input is this process's until the main process asks for it, which is in a handler or a write
        meanwhile, and looks at none of what the pool says."""
        if self.words[_ENDED]:
            self.stop_reading()
            return
        self.nothing_since = _take_first_ready(self.words)
        data = os.read(self.input, _READ)
        if not data:
            _orphaned(self.words)
        self.words[_HEARD] = now
        self.buffer += data
        self.parse()
        self.try_owed()

    def try_owed(self) -> None:
        if self.owes() and self.lock.try_acquire():
            try:
                if not self.words[_ENDED]:
                    self.write_owed()
            finally:
                self.lock.release()

    def parse(self) -> None:
        data, at = self.buffer, 0
        while len(data) - at >= 8:
            length, kind = _LENGTH_AND_KIND.unpack_from(data, at)
            end = at + 4 + length
            if end > len(data):
                break
            self.take_in(kind, bytes(data[at:end]))
            at = end
        del data[:at]

    def take_in(self, kind: int, frame: bytes) -> None:
        words = self.words
        whole = _SKIP <= kind <= _HEARTBEAT and kind != _LEAVE or kind == _JOB
        job = _ID.unpack_from(frame, 8)[0] if whole and len(frame) - 4 >= _SHORTEST[kind] else None
        if job is not None and kind in (_JOB, _TIMED_JOB):
            if words[_RETIRED]:
                self.skipped(job)
            else:
                self.held.append((job, frame, 0))
        elif job is not None and kind == _SKIP:
            kept = [held for held in self.held if held[0] != job]
            if len(kept) < len(self.held):
                self.held = kept
                self.skipped(job)
            elif _skip_in_ring(words, job):
                self.skipped(job)
        elif job is not None and kind == _CANCEL and words[_HAS_JOB] and words[_JOB_ID] == job:
            _cancel_running(words, _until(_CANCEL_HEAD.unpack_from(frame, 8)[1]))
        elif job is not None and kind == _CANCEL:
            self.held.append((None, frame, time.monotonic_ns()))
        elif job is not None and kind == _HEARTBEAT:
            if not words[_SILENCE]:
                _check_first_limit(words, job, self.nothing_since)
            words[_SILENCE] = job
            self.owe(_LENGTH_AND_KIND.pack(4, _ALIVE))
        else:
            self.held.append((None, frame, 0))  # the main process knows what to do with it, or says that it does not

    def skipped(self, job: int) -> None:
        self.owe(_ABOUT_JOB.pack(12, _SKIPPED, job))

    def owe(self, frame: bytes) -> None:
        self.owed.append(frame)
        self.words[_OWES] = 1

    def owes(self) -> bool:
        """Whether something is to be written as soon as there is room for it."""
        return bool(self.owed or self.words[_HAS_JOB] and not self.words[_STARTED])

    def write_owed(self) -> None:
        """Writes what there is room for; the lock is held."""
        words = self.words
        if words[_HAS_JOB] and not words[_STARTED] and self.write(_ABOUT_JOB.pack(12, _START, words[_JOB_ID])):
            words[_STARTED] = 1
        while self.owed and self.write(self.owed[0]):
            self.owed.popleft()
        words[_OWES] = 1 if self.owed else 0

    def write(self, data: bytes) -> bool:
        """Writes a frame if that does not block: whether it did."""
        if not self.room.poll(0):
            return False
        try:
            os.write(self.output, data)  # no longer than PIPE_BUF, for which there is room then
        except BrokenPipeError:
            _orphaned(self.words)
        return True


# ---------------------------------------------------------------- serving


class _NotAPool(Exception):
    """Standard input is not that of a pool that this kit understands."""


def serve(target: Any = None, *, name: Optional[str] = None, codec: Optional[str] = None) -> Any:
    """A worker's main: does jobs until the pool lets it go, then ends the process.

    `target` is a function of a job, or of a job and its `Context`; or a `Worker`, the class or an instance. `name` is the
    job type's name, if the worker is to refuse others. `codec` is ``"json"`` unless it is said to be ``"bincode"``.

    It is a decorator as well, ``@serve`` or ``@serve(name="square/1")``. At the top of a module that is imported, and is not
    the script that was started, it returns its target as it is, so that tests can import it.

    Where the process was not started by a pool, it says so on standard error and exits with 2.
    """
    if codec is not None and codec not in _CODECS:
        raise ValueError(f"codec is {codec!r}, and must be 'json' or 'bincode'")
    caller = sys._getframe(1)
    imported = caller.f_code.co_name == "<module>" and caller.f_globals.get("__name__") != "__main__"
    if target is None:
        return lambda target: target if imported else _main(target, name, codec)
    return target if imported else _main(target, name, codec)


class _Function(Worker):
    """A handler that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # On the instance: one call less for each job.
        self.run = _of_two(function)  # type: ignore[method-assign]


_VAR_POSITIONAL, _COROUTINE = 0x04, 0x80  # of a code object's flags


def _of_two(function: Callable[..., Any]) -> Callable[[Any, Context], Any]:
    """A function of a job and a context that calls one of these, or of a job alone, async or not."""
    code = getattr(function, "__code__", None)
    if code is not None and not code.co_flags & (_VAR_POSITIONAL | _COROUTINE) and not function.__defaults__:
        if code.co_argcount == 2:
            return function
        if code.co_argcount == 1:
            return lambda job, ctx: function(job)
    import inspect  # which takes longer than all of the start

    try:
        parameters = list(inspect.signature(function).parameters.values())
        places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        needed = [one for one in places if one.default is one.empty]
        takes_two = any(one.kind is one.VAR_POSITIONAL for one in parameters) or len(needed) == 2
        takes_two = takes_two or len(places) >= 2 and places[1].name in ("ctx", "context")
        if len(needed) > 2:
            raise TypeError(f"{function!r} takes more than a job and a context")
    except ValueError:
        takes_two = False
    called = function if takes_two else lambda job, ctx: function(job)
    if not inspect.iscoroutinefunction(function):
        return called
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return lambda job, ctx: loop.run_until_complete(called(job, ctx))


def _main(target: Any, name: Optional[str], codec: Optional[str]) -> NoReturn:
    if isinstance(target, type) and issubclass(target, Worker):
        made = None
    elif isinstance(target, Worker):
        made = target
    elif callable(target):
        made = _Function(target)
    else:
        raise TypeError(f"serve takes a function or a Worker, not {type(target).__name__}")
    kind = type(made) if made is not None else target
    name = kind.name if name is None else name
    codec = kind.codec if codec is None else codec
    if codec not in _CODECS:
        raise ValueError(f"codec is {codec!r}, and must be 'json' or 'bincode'")
    try:
        if os.isatty(0):
            raise _NotAPool("its standard input is a terminal: this program is a worker, which a pool starts")
        link, options = _connect(name, codec)
    except (_NotAPool, _Malformed, OSError) as error:
        print(f"hirelings worker: {error}", file=sys.stderr)
        raise SystemExit(2) from None

    recovers = kind.recover is not Worker.recover

    def start() -> Worker:
        worker = target() if made is None else made
        worker.init(_CODECS[codec].options(options))
        return worker

    try:
        worker = _own_code(link, start)
        link.lock.hold(link.say_first_ready)
        link.lock.hold(lambda: _work(link, worker, recovers))
    except _Malformed as error:
        _end(link, f"the pool wrote {error}")
    raise SystemExit(0)


def _connect(name: str, codec: str) -> Tuple[_Link, Optional[bytes]]:
    """Shakes hands with the pool: the link, and the options."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    link = _Link()
    for stream in (sys.stdout, sys.stderr):
        # What is printed is in the pool's log, and in the error of the job that ends the process, line by line. What was
        # printed before and is still kept is written now, when it does not get into the protocol any more.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    hello = _MAGIC + struct.pack("<HHI", _LOWEST, _HIGHEST, _FROM_WORKER | _ANSWERS_RECALLS)
    link.write(_frame(hello + name.encode()))
    while len(link.buffer) < 4:
        read = os.read(link.input, _READ)
        if not read:
            raise _NotAPool(_NO_HELLO)
        link.buffer += read
    (length,) = struct.unpack_from("<I", link.buffer)
    if not 16 <= length <= 4112:
        raise _NotAPool("its standard input is not a pool's")
    theirs = link.next_frame()
    lowest, highest, flags = struct.unpack_from("<HHI", theirs, 8)
    if theirs[:8] != _MAGIC or flags & _FROM_WORKER:
        raise _NotAPool("its standard input is not a pool's")
    link.version = min(highest, _HIGHEST)
    if link.version < max(lowest, _LOWEST):
        raise _NotAPool(
            f"the pool speaks versions {lowest} to {highest} of the protocol, this worker speaks {_LOWEST} to {_HIGHEST}"
        )
    link.words[_HELLO_READ] = 1
    try:
        return link, _take_init(link, name, codec)
    except _Malformed as error:
        _end(link, f"the pool wrote {error}")


def _take_init(link: _Link, name: str, codec: str) -> Optional[bytes]:
    """Takes in what the pool says first, and what has arrived behind it: the options."""
    init = _Values(link.next_frame())
    if init.number(4) != _INIT:
        _end(link, "the pool's first message is no init")
    its_name, its_codec = init.text(), init.text()
    link.max_frame, has_options = init.number(8), init.number(1) == 1
    if name and its_name != name:
        _end(link, f"this worker does jobs of type {name}, the pool has {its_name}")
    if its_codec != codec:
        hint = ": build the pool with codec(Codec::Json)" if (its_codec, codec) == ("bincode", "json") else ""
        _end(link, f"the pool encodes payloads as {its_codec}, this worker knows {codec}{hint}")
    link.codec = _CODECS[codec]
    link.parse()
    return init.data[init.at :] if has_options else None


def _end(link: _Link, message: str, error: Optional[BaseException] = None) -> NoReturn:
    """Writes the last message, and ends the process with 1."""
    location = trace = None
    if error is not None:
        location, trace = _place(error), _trace(error)
        sys.stderr.write(trace)
    else:
        sys.stderr.write(f"hirelings worker: {message}\n")
    link.lock.hold(lambda: link.say_terminal(message, location, trace))
    raise SystemExit(1)


def _own_code(link: _Link, code: Callable[[], Any]) -> Any:
    """Runs the worker's start or its recovery; an exception is told to the pool and ends the process."""
    link.lock.hold(lambda: link.begin(None))
    try:
        made = code()
    except SystemExit:
        raise
    except BaseException as error:
        _not_forked(link)
        _end(link, _headline(error), error)
    _not_forked(link)
    link.lock.hold(link.end)
    return made


def _not_forked(link: _Link) -> None:
    """A child that user code has forked, and that comes back here, ends: the job is its parent's."""
    if link.output == -1:
        os._exit(1)


def _work(link: _Link, worker: Worker, recovers: bool) -> None:
    """Does jobs until the pool lets the worker go. The lock is held when this is called, and not while user code runs."""
    lock, run = link.lock, worker.run
    decode, encode, ready = link.codec.decode, link.codec.encode, not recovers
    while True:
        arrived = link.next_job()
        if arrived is None:
            return
        job, attempt, limit, payload, _ = arrived
        ctx = link.current = Context(link, job, attempt, limit)
        link.begin(job)
        lock.release()
        try:
            answer = _do_job(link, ctx, run, decode, encode, ready, payload)
        finally:
            _not_forked(link)
            lock.acquire()
        if ctx._retire:
            link.retire()
        link.end()
        link.write(answer)
        if recovers:
            lock.release()
            try:
                _own_code(link, worker.recover)
            finally:
                _not_forked(link)
                lock.acquire()
            link.write(_LENGTH_AND_KIND.pack(4, _READY))


def _do_job(link: _Link, ctx: Context, run: Any, decode: Any, encode: Any, ready: bool, payload: bytes) -> bytes:
    """Runs the handler; the frame of its answer."""
    job = ctx._job
    try:
        work = decode(payload)
    except Exception as error:
        return _unusable(link, job, ready, _DECODE_JOB, "job", str(error))
    try:
        output = run(work, ctx)
    except _Unencodable as error:
        return _unusable(link, job, ready, _ENCODE_PROGRESS, "progress", str(error))
    except Exception as error:
        return _failure(link, ctx, ready, error)
    except SystemExit:
        raise
    except BaseException as error:
        _not_forked(link)
        _end(link, _headline(error), error)
    try:
        encoded = encode(output)
    except Exception as error:
        return _unusable(link, job, ready, _ENCODE_OUTPUT, type(output).__name__, str(error))
    if len(encoded) + 13 > link.max_frame:
        return _unusable(link, job, ready, _ENCODE_OUTPUT, type(output).__name__, _too_long(link))
    return _ANSWER.pack(len(encoded) + 13, _SUCCESS, job, ready) + encoded


def _failure(link: _Link, ctx: Context, ready: bool, error: Exception) -> bytes:
    try:
        if isinstance(error, Failed):
            encoded = link.codec.encode(error.error)
        elif callable(getattr(error, "to_json", None)) and link.codec is _Json:
            encoded = link.codec.encode(error.to_json())
        else:
            encoded = link.codec.error(f"{_headline(error)}\n{_trace(error)}".rstrip("\n"))
    except Exception as fault:
        return _unusable(link, ctx._job, ready, _ENCODE_ERROR, type(error).__name__, str(fault))
    if len(encoded) + 13 > link.max_frame:
        return _unusable(link, ctx._job, ready, _ENCODE_ERROR, type(error).__name__, _too_long(link))
    kind = _FINAL_FAILURE if ctx._no_retry and link.version >= 2 else _FAILURE
    return _ANSWER.pack(len(encoded) + 13, kind, ctx._job, ready) + encoded


def _too_long(link: _Link) -> str:
    return f"it is over the frame limit of {link.max_frame} bytes"


def _unusable(link: _Link, job: int, ready: bool, fault: int, type_name: str, message: str) -> bytes:
    room = link.max_frame // 16
    texts = _text(type_name[:room]) + _text(message[:room])
    return _frame(struct.pack("<IQ?I", _UNUSABLE, job, ready, fault) + texts)


def _headline(error: BaseException) -> str:
    """The type and the message, as the last line of a traceback has them."""
    if isinstance(error, Panic):
        return str(error)
    import traceback

    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _user_frames(error: BaseException) -> Any:
    """The traceback without this file's own frames at its top."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(type(error), error, _user_frames(error)))


def _place(error: BaseException) -> Optional[str]:
    """Where it was raised, as file:line:column."""
    frames = _user_frames(error)
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return frames and f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}:1"
