'use strict';
// Does what the torture says (`Order`, in tests/src/bin/torture/deed.rs), as its worker in Rust does.

const { spawn, spawnSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const { O_RDONLY, O_RDWR, O_WRONLY, O_NONBLOCK } = fs.constants;
const linkOf = (fd) => {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
};
const PIPES = [0, 1].map(linkOf);
const TAG = process.argv[2];
if (TAG === '--can-run') process.exit(0);

const { Failed, Panic, serve } = require('../../worker-kit/node');

const PROGRAM = process.env.HIRELINGS_TORTURE_PROGRAM;
const LINES = [10, 30, 90, 270, 810, 2430, 7290, 21870].map((length) => Buffer.from(`${'x'.repeat(length)}\n`));
const KEPT = [];
// Each start is noted before anything else, in one write: see tests/src/starts.rs.
const starts = fs.openSync(path.join(os.tmpdir(), `hirelings-${TAG}.starts`), 'a');
const note = Buffer.alloc(24);
note.writeUInt32LE(process.pid, 12);
note.writeBigUInt64LE(process.hrtime.bigint(), 16);

serve((order, ctx) => {
  note.writeBigUInt64LE(BigInt(order.nonce), 0);
  note.writeUInt32LE(ctx.attempt, 8);
  fs.writeSync(starts, note);
  const bytes = Buffer.from(order.bytes, 'base64');
  const answer = { nonce: order.nonce, pid: process.pid, sum: sumOf(bytes), bytes };
  const [deed, of] = typeof order.deed === 'string' ? [order.deed, {}] : Object.entries(order.deed)[0];
  if (!Object.hasOwn(DEEDS, deed)) throw new TypeError(`what is ${deed}?`);
  return DEEDS[deed](answer, of, ctx) ?? answer;
});

const DEEDS = {
  Echo() {},
  Swallow(answer) {
    answer.bytes = Buffer.alloc(0);
  },
  Fail({ nonce }) {
    throw new Failed(String(nonce));
  },
  Panic() {
    throw new Panic('told to panic');
  },
  Exit() {
    process.exit(3);
  },
  // Nothing that is written in JavaScript touches memory that is not there.
  Segfault() {
    process.kill(process.pid, 'SIGSEGV');
    rest();
  },
  Abort() {
    process.abort();
  },
  // The torture starts Node with a limit of the stack that is above the system's.
  Overflow() {
    return deeper(1);
  },
  Exhaust() {
    for (;;) KEPT.push(new Array(1 << 20).fill(0.5));
  },
  CutFrame() {
    fs.writeSync(open(1), Buffer.of(200, 0, 0, 0, 3, 0));
    process.exit(5);
  },
  CloseOutput() {
    replace(place(1), '/dev/null', O_WRONLY);
    rest();
  },
  Hold(_, { away, then }, ctx) {
    const child = holder(away ? 'away' : 'here');
    while (away && stat(child)?.group !== child) nap();
    ctx.progress({ Held: child });
    goOn(then);
  },
  LeaveChildren(_, { then }, ctx) {
    for (const errors of ['ignore', 2, 2]) sleeping('here', ['ignore', 'ignore', errors]);
    ctx.progress('Working');
    goOn(then);
  },
  FloodErrors(_, { forever }) {
    flood(forever, (line) => writeAll(2, line));
  },
  FloodProgress(_, { forever }, ctx) {
    flood(forever, (line) => ctx.progress({ Noise: line }));
  },
  Hang() {
    return new Promise(() => {});
  },
  Spin(_, __, ctx) {
    ctx.progress('Working');
    for (;;);
  },
  Stop(_, __, ctx) {
    ctx.progress('Working');
    process.kill(process.pid, 'SIGSTOP');
    rest();
  },
  StopReading() {
    // The kit reads from now on a pipe into which nobody writes, and whose other end stays open. The real one keeps a
    // reader, or the pool would learn that nobody reads.
    KEPT.push(open(0));
    const fifo = path.join(os.tmpdir(), `hirelings-${TAG}-${process.pid}.fifo`);
    spawnSync('mkfifo', [fifo]);
    replace(place(0), fifo, O_RDWR | O_NONBLOCK);
    fs.unlinkSync(fifo);
  },
  StopChild(_, __, ctx) {
    const child = holder('stopped');
    while ('T' !== (stat(child)?.state ?? 'T')) nap();
    ctx.progress({ Held: child });
    rest();
  },
};

/** 64 bits, of which a number holds 32. */
function sumOf(bytes) {
  const step = 1 + Math.floor(bytes.length / 100_000);
  let [low, high] = [bytes.length, 0];
  for (let at = 0; at < bytes.length; at += step) {
    const product = low * 31 + bytes[at];
    low = product >>> 0;
    high = (high * 31 + Math.floor(product / 2 ** 32)) >>> 0;
  }
  return BigInt(high) * 2n ** 32n + BigInt(low);
}

function deeper(depth) {
  return deeper(depth + 1) + 1;
}

const WORD = new Int32Array(new SharedArrayBuffer(4));
const nap = () => void Atomics.wait(WORD, 0, 0, 1);
const rest = () => void Atomics.wait(WORD, 0, 0);

function goOn(then) {
  if (then === 'Exits') process.exit(4);
  if (then === 'Rests') rest();
}

function flood(forever, write) {
  for (let left = 4 << 20; forever || left > 0; ) {
    for (const line of LINES) {
      write(line);
      left -= line.length;
    }
  }
}

function writeAll(fd, data) {
  while (data.length > 0) {
    try {
      data = data.subarray(fs.writeSync(fd, data));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      nap();
    }
  }
}

function stat(pid) {
  try {
    const [state, , group] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop().split(' ');
    return { state, group: Number(group) };
  } catch {
    return undefined;
  }
}

/** Where the kit keeps one of the protocol's descriptors: 0 its input, 1 its output. */
function place(which) {
  const found = fs.readdirSync('/proc/self/fd').map(Number);
  const place = found.find((fd) => fd > 2 && linkOf(fd) === PIPES[which] && !KEPT.includes(fd));
  if (place === undefined) throw new Error(`no descriptor is ${PIPES[which]}`);
  return place;
}

/** A descriptor of one's own for it. */
function open(which) {
  return fs.openSync(`/proc/self/fd/${place(which)}`, (which === 0 ? O_RDONLY : O_WRONLY) | O_NONBLOCK);
}

/** Puts another file in the place of a descriptor that the kit owns: the lowest number that is free is given out. */
function replace(fd, file, flags) {
  fs.closeSync(fd);
  const others = [];
  let opened = fs.openSync(file, flags);
  for (; opened < fd; opened = fs.openSync(file, flags)) others.push(opened);
  others.forEach((other) => fs.closeSync(other));
  if (opened !== fd) throw new Error(`descriptor ${fd} was taken meanwhile`);
}

function sleeping(how, stdio) {
  const child = spawn(PROGRAM, ['sleeper', TAG, how], { stdio });
  child.unref();
  KEPT.push(child);
  return child.pid;
}

/** Starts a sleeper that holds the protocol's input and output, and standard error. */
function holder(how) {
  const held = [open(0), open(1)];
  const child = sleeping(how, [...held, 2]);
  held.forEach((fd) => fs.closeSync(fd));
  return child;
}
