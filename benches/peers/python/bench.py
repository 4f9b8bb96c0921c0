#!/usr/bin/env python3
"""ProcessPoolExecutor, measured with the cases of benches/pipe. ../README.md says how, and what its figures mean."""

import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from bisect import bisect_right
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SHORT = "--short" in sys.argv
ALONE = "--alone"  # a process that measures one case, whose name follows
LIMIT = 120 if SHORT else 300  # seconds a case


def of(full, short):
    """How much is done: one of two, by whether this is a short run."""
    return short if SHORT else full


def figure(case, value, unit, limit=None, note=None):
    line = {"case": case, "value": round(value, 4), "unit": unit}
    if limit is not None:
        line |= {"limit": round(limit, 4), "ratio": round(value / limit, 4)}
    say(line | ({"note": note} if note else {}))


def cannot(case, why):
    say({"case": case, "cannot": why})


def say(line):
    print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), flush=True)


# ---------------------------------------------------------------- measuring


def rounds(count, once):
    """The medians of each figure of some rounds, after one that does not count."""
    once()
    return [median(samples) for samples in zip(*(once() for _ in range(count)))]


def percentile(samples, percent):
    samples = sorted(samples)
    return samples[min(len(samples) * percent // 100, len(samples) - 1)]


def median(samples):
    return percentile(samples, 50)


def since(started):
    return time.perf_counter() - started


def field(path, *names):
    """The sum of the numbers behind names in a file of /proc; nothing, for a thread that has ended."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def resident():
    return field("/proc/self/status", "VmRSS:") * 1024


def cpu_time(pid):
    """In microseconds; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e4


def switches(pid):
    """Of all threads but this process's main one, which measures."""
    tasks = (task for task in os.listdir(f"/proc/{pid}/task") if int(task) != os.getpid())
    names = "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"
    return sum(field(f"/proc/{pid}/task/{task}/status", *names) for task in tasks)


def threads_and_descriptors():
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def workers_pids():
    return [process.pid for process in multiprocessing.active_children()]


# ---------------------------------------------------------------- the work


def small(number):
    """The 64 bytes of a small job, unlike those of any other."""
    return number.to_bytes(8, "little") + b"Z" * 48 + number.to_bytes(8, "big")


def echo(data):
    return data


def nap(seconds):
    """Who took it, and when."""
    begin = time.monotonic()
    if seconds:
        time.sleep(seconds)
    return os.getpid(), begin, time.monotonic()


def pool(workers):
    """An executor whose workers are all there: they and this wait for each other."""
    meeting = multiprocessing.Barrier(workers + 1)
    executor = ProcessPoolExecutor(workers, initializer=meeting.wait)
    for _ in range(workers):
        executor.submit(int)
    meeting.wait()
    return executor


def drive(executor, count):
    """The seconds that small jobs take, submitted at once and then waited for."""
    jobs = [small(number) for number in range(count)]
    started = time.perf_counter()
    futures = [executor.submit(echo, job) for job in jobs]
    for job, future in zip(jobs, futures):
        assert future.result() == job
    return since(started)


# ---------------------------------------------------------------- how fast jobs go through


def latency():
    count, repeats = of((5_000, 5), (2_000, 1))
    executor = pool(1)

    def once(number):
        job = small(number)
        started = time.perf_counter()
        echoed = executor.submit(echo, job).result()
        took = since(started)
        assert echoed == job
        return took * 1e6

    def each():
        took = [once(number) for number in range(count)]
        return percentile(took, 50), percentile(took, 99)

    p50, p99 = rounds(repeats, each)
    figure("latency", p50, "µs")
    figure("latency_p99", p99, "µs")


def throughput():
    count, repeats = of((200_000, 3), (20_000, 1))
    executor = pool(2)
    (rate,) = rounds(repeats, lambda: [count / drive(executor, count)])
    figure("throughput", rate, "jobs/s", note=f"{count} jobs")


def payload():
    executor = pool(1)
    for case, size, count in [
        ("payload", 16 << 20, of(6, 3)),
        ("payload_1m", 1 << 20, of(60, 30)),
        ("payload_64k", 64 << 10, of(600, 300)),
    ]:
        data = bytes((at // 64 ^ at) & 255 for at in range(size))

        def once():
            started = time.perf_counter()
            echoed = executor.submit(echo, data).result()
            took = since(started)
            assert echoed == data
            return took

        (rate,) = rounds(of(3, 1), lambda: [2 * size / 1e6 / median([once() for _ in range(count)])])
        figure(case, rate, "MB/s")


def hooks():
    cannot("hooks", "no events of jobs or workers, only a callback when a future is done")


def cpu():
    count, repeats = of((200_000, 3), (50_000, 1))
    executor = pool(2)
    pids = workers_pids()
    assert len(pids) == 2

    def used():
        return cpu_time(os.getpid()), sum(map(cpu_time, pids))

    def once():
        before = used()
        drive(executor, count)
        return [(late - early) / count for early, late in zip(before, used())]

    parent, workers = rounds(repeats, once)
    figure("cpu", parent + workers, "µs/job", note=f"{count} jobs")
    figure("cpu_parent", parent, "µs/job")
    figure("cpu_worker", workers, "µs/job")


# ---------------------------------------------------------------- processes


def isolate():
    if sys.version_info < (3, 11):
        return cannot("isolate", "max_tasks_per_child is new in 3.11")
    count, repeats = of((400, 3), (100, 1))
    context = multiprocessing.get_context("forkserver")
    executor = ProcessPoolExecutor(2, context, max_tasks_per_child=1)
    (rate,) = rounds(repeats, lambda: [count / drive(executor, count)])
    figure("isolate", rate, "jobs/s", note="max_tasks_per_child=1, forks of the forkserver")


def ready_pool(workers):
    started = time.perf_counter()
    executor = pool(workers)
    took = since(started)
    executor.shutdown()
    return [took * 1e3]


def spawn():
    (ready,) = rounds(of(40, 10), lambda: ready_pool(2))
    figure("spawn", ready, "ms", note=f"two workers ready, start method {multiprocessing.get_start_method()}")


def many():
    workers, count, repeats = of((256, 100_000, 1), (64, 10_000, 1))
    (ready,) = rounds(repeats, lambda: ready_pool(workers))

    without = threads_and_descriptors()
    few = pool(2)
    with_few = threads_and_descriptors()
    crowd = pool(workers)
    with_all = threads_and_descriptors()
    threads, descriptors = (
        ((all_ - some) - (some - none)) / (workers - 2) for none, some, all_ in zip(without, with_few, with_all)
    )

    with_two, with_many = rounds(repeats, lambda: [count / drive(executor, count) for executor in (few, crowd)])
    note = f"{workers} workers"
    figure("many", with_many, "jobs/s", with_two, f"{note}, {count} jobs")
    figure("many_ready", ready, "ms", note=f"{note}, start method {multiprocessing.get_start_method()}")
    figure("many_threads", threads, "a worker", note=note)
    figure("many_descriptors", descriptors, "a worker", note=note)


# ---------------------------------------------------------------- standing


def backlog():
    early, measured, batch = 10_000, 20_000, 1_000
    count = of(1_000_000, 100_000)
    executor = pool(2)
    for _ in range(2):
        executor.submit(time.sleep, 3600)
    futures = []

    def add(jobs):
        started = time.perf_counter()
        futures.extend(executor.submit(echo, small(number)) for number in range(jobs))
        return since(started) * 1e6 / jobs

    before = resident()
    add(early)
    at_first = median([add(batch) for _ in range(measured // batch)])
    add(count - early - 2 * measured)
    at_last = median([add(batch) for _ in range(measured // batch)])
    figure("backlog", (resident() - before) / count, "bytes/job", note=f"{count} jobs of 64 B, futures held")
    figure("backlog_time", at_last, "µs/job", at_first, f"at {count}, against at {early}")


def map_():
    count, look = of(1_000_000, 100_000), 10_000
    executor = pool(2)
    before = most = resident()
    started = time.perf_counter()
    jobs = map(small, range(count))
    lazy = sys.version_info >= (3, 14)
    echoes = executor.map(echo, jobs, buffersize=1_000) if lazy else executor.map(echo, jobs)
    for number, echoed in enumerate(echoes):
        assert echoed == small(number)
        if number % look == 0:
            most = max(most, resident())
    rate = count / since(started)
    how = "buffersize=1000" if lazy else "submits all at once before 3.14"
    figure("map", (max(most, resident()) - before) / 2**20, "MiB", note=f"{count} jobs at {rate:.0f} jobs/s; {how}")


def idle():
    length = of(10, 2)
    executor = pool(8)
    for future in [executor.submit(echo, small(number)) for number in range(64)]:
        future.result()
    pids = [os.getpid(), *workers_pids()]
    assert len(pids) == 9
    time.sleep(1)
    before = sum(map(switches, pids))
    time.sleep(length)
    figure("idle", sum(map(switches, pids)) - before, "switches", note=f"8 workers, {length} s")


# ---------------------------------------------------------------- one long job among short ones


def do_naps(executor, naps):
    """Does naps, all submitted at once; how long that took, and what the workers tell of each."""
    started = time.perf_counter()
    futures = [executor.submit(nap, seconds) for seconds in naps]
    told = [future.result() for future in futures]
    return since(started), told


def list_schedule(told):
    """The seconds of two workers that each take the next job as soon as they are free, at no cost."""
    until = [0.0, 0.0]
    for _, begin, end in told:
        until.sort()
        until[0] += end - begin
    return max(until)


def longest_wait(executor, count):
    """The seconds that any tiny job waited after the worker that does not have the long one had become free."""
    naps = [0.0] * count
    naps[count // 2] = 0.5
    _, told = do_naps(executor, naps)
    busy, long_begin, _ = told.pop(count // 2)
    freed = sorted(end for pid, _, end in told if pid != busy)
    during = [begin for _, begin, _ in told if begin >= long_begin and freed[0] <= begin]
    return max((begin - freed[bisect_right(freed, begin) - 1] for begin in during), default=0.0)


def fair():
    count, repeats = of((1_000, 3), (500, 1))
    executor = pool(2)
    for name, at in ("10", 10), ("500", count // 2), ("990", count - 10), ("last", count - 1):
        naps = [0.001] * count
        naps[at] = 0.2
        runs = [do_naps(executor, naps) for _ in range(repeats)]
        best = median([list_schedule(told) for _, told in runs])
        total = median([took for took, _ in runs])
        figure(f"fair_{name}", total * 1e3, "ms", best * 1e3, f"{count} jobs")
    tiny = of(10_000, 5_000)
    wait = median([longest_wait(executor, tiny) for _ in range(repeats)])
    figure("fair_tiny", wait * 1e3, "ms", 500, f"{tiny} jobs")


# ---------------------------------------------------------------- all of them

CASES = {
    case.__name__.rstrip("_"): case
    for case in (latency, throughput, payload, isolate, spawn, backlog, map_, idle, hooks, many, cpu, fair)
}


def in_a_process(case):
    """Measures a case in a process and a process group of its own, none of which outlives the limit of time."""
    program = [sys.executable, __file__, ALONE, case] + ["--short"] * SHORT
    process = subprocess.Popen(program, start_new_session=True)
    try:
        code = process.wait(LIMIT)
        if code:
            cannot(case, f"it ended with exit code {code}")
    except subprocess.TimeoutExpired:
        cannot(case, f"it did not end within {LIMIT} s")
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def alone(case):
    """The main of such a process. It waits for no worker: the one that started it ends them."""
    code = 1
    try:
        case()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def main():
    asked = [argument for argument in sys.argv[1:] if argument != "--short"]
    if asked[:1] == [ALONE]:
        alone(CASES[asked[1]])
    for name in asked:
        if name not in CASES:
            sys.exit(f"there is no case or option {name}; the cases are {', '.join(CASES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say({"peer": f"ProcessPoolExecutor, Python {platform.python_version()}"})
    for case in CASES:
        if not asked or case in asked:
            in_a_process(case)


if __name__ == "__main__":
    main()
