'use strict';
// Does what a test wants: a job is `[what, argument]`.

const fs = require('fs');
const { spawn, spawnSync } = require('child_process');
const { Failed, Panic, serve } = require('../..');

function napFor(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const deeds = {
  echo: (value) => value,
  async later(value) {
    await new Promise(setImmediate);
    return value;
  },
  async sleep(ms, ctx) {
    ctx.progress('asleep');
    await new Promise((resolve) => setTimeout(resolve, ms));
    return ms;
  },
  /** Returns once there is such a file. */
  awaitFile(file) {
    while (!fs.existsSync(file));
  },
  /** The same, and the kit takes it for short, so that the event loop has no turn after it. */
  awaitUnnoticed(file) {
    const before = performance.now();
    performance.now = () => before;
    deeds.awaitFile(file);
  },
  spin() {
    for (;;);
  },
  touch: (file) => fs.appendFileSync(file, ''),
  touchAndAwait({ file, other }) {
    fs.appendFileSync(file, '');
    deeds.awaitFile(other);
  },
  numbers: (_, ctx) => [ctx.jobId, ctx.attempt],
  fail(value) {
    throw new Failed(value);
  },
  throw(value) {
    throw value;
  },
  error(message) {
    throw new TypeError(message);
  },
  async reject(message) {
    throw new RangeError(message);
  },
  failForGood(value, ctx) {
    ctx.noRetry();
    throw new Failed(value);
  },
  panic(message) {
    throw new Panic(message);
  },
  exit: (code) => process.exit(code),
  uncaught: (message) =>
    new Promise(() =>
      setTimeout(() => {
        throw new Error(message);
      }),
    ),
  rejected: (message) =>
    new Promise(() => {
      Promise.reject(new Error(message));
    }),
  kill: (signal) => process.kill(process.pid, signal),
  tell(count, ctx) {
    for (let n = 0; n < count; n++) ctx.progress(n);
    return count;
  },
  progress: (what, ctx) => ctx.progress(wrong[what]),
  output: (what) => wrong[what],
  wrongError(what) {
    throw new Failed(wrong[what]);
  },
  long: (length) => 'x'.repeat(length),
  print(line) {
    console.log(line);
    process.stdout.write(`${line}\n`);
    spawnSync('echo', [line], { stdio: 'inherit' });
    spawnSync('sh', ['-c', `echo ${line}; echo ${line} >&2`], { stdio: ['inherit', 'inherit', 'inherit'] });
  },
  fillErrors() {
    // Node has a write to a full pipe or socket fail, but not once a child has had it.
    spawnSync('true', { stdio: 'inherit' });
    for (;;) fs.writeSync(2, 'x'.repeat(1_000_000));
  },
  async input() {
    let read = '';
    for await (const chunk of process.stdin) read += chunk;
    return read;
  },
  descriptors: () =>
    spawnSync('sh', ['-c', 'ls -l /proc/self/fd'], { stdio: ['inherit', 'pipe', 'inherit'] }).stdout.toString(),
  /** Tells of a child that lives on, and gives a text of this length, or never returns. */
  spawn(length, ctx) {
    ctx.progress(spawn('sleep', ['300'], { stdio: 'ignore' }).pid);
    if (length !== undefined) return 'x'.repeat(length);
    for (;;);
  },
  retire(ms, ctx) {
    ctx.retire();
    napFor(ms);
  },
  untilCancelled(_, ctx) {
    ctx.progress('running');
    while (!ctx.isCancelled()) napFor(1);
    return 'cancelled';
  },
  untilAborted: (_, ctx) =>
    new Promise((resolve) => {
      ctx.signal.addEventListener('abort', () => resolve('aborted'));
      ctx.progress('running');
    }),
  cancelled: (_, ctx) => [ctx.isCancelled(), ctx.signal.aborted],
  deadline(_, ctx) {
    const left = ctx.deadline() - Date.now();
    return left === Infinity ? 'none' : left;
  },
  deadlineAtSignal: (_, ctx) =>
    new Promise((resolve) => {
      process.once('SIGUSR2', () => resolve(deeds.deadline(_, ctx)));
      ctx.progress('running');
    }),
  afterwards(_, ctx) {
    const told = new Promise((resolve) =>
      setTimeout(() => {
        try {
          ctx.progress(1);
          resolve('told');
        } catch (error) {
          resolve(error.message);
        }
      }, 5),
    );
    kept = told;
  },
  kept: () => kept,
};

let kept;

const circle = {};
circle.circle = circle;
const wrong = {
  NaN: { at: NaN },
  infinity: [1, -Infinity],
  map: new Map([[1, 2]]),
  set: { in: new Set() },
  function: () => {},
  hole: [() => {}],
  date: new Date(NaN),
  floats: new Float64Array(2),
  circle,
  big: 2n ** 64n - 1n,
  bytes: { data: Uint8Array.of(1, 2) },
  buffer: Buffer.of(1, 2),
  none: { bytes: new Uint8Array(), nothing: null, undefined },
};

serve(([what, argument], ctx) => deeds[what](argument, ctx));
