'use strict';
// A pool of one worker, for tests: it speaks the protocol by hand, and keeps all that the worker says.

const assert = require('assert');
const { spawn, spawnSync } = require('child_process');
const fs = require('fs');
const { Socket } = require('net');
const os = require('os');
const path = require('path');
const { after } = require('node:test');
const { setTimeout: sleep } = require('timers/promises');

const NAMES = [
  'Ready',
  'Start',
  'Progress',
  'Success',
  'Failure',
  'Unusable',
  'Terminal',
  'Skipped',
  'Retire',
  'FinalFailure',
  'Alive',
];
const WATCHDOG = 60_000;

const u16 = (...numbers) => Buffer.from(Uint16Array.from(numbers).buffer);
const u32 = (...numbers) => Buffer.from(Uint32Array.from(numbers).buffer);
const u64 = (...numbers) => Buffer.from(BigUint64Array.from(numbers, BigInt).buffer);
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const json = (value) => (Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value)));

function frame(...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([u32(body.length), body]);
}

const hello = (lowest, highest) => frame(Buffer.from('hireling'), u16(lowest, highest), u32(0));
function init({ jobType, codec, maxFrame, options }) {
  const payload = options === undefined ? [Buffer.of(0)] : [Buffer.of(1), json(options)];
  return frame(u32(0), text(jobType), text(codec), u64(maxFrame), ...payload);
}
const job = (id, value, attempt = 1) => frame(u32(1), u64(id), u32(attempt), json(value));
const timedJob = (id, value, limit) => frame(u32(5), u64(id), u32(1), u64(limit), json(value));
const skip = (id) => frame(u32(2), u64(id));
const leave = () => frame(u32(3));
const cancel = (id, within = 2n ** 64n - 1n) => frame(u32(4), u64(id), u64(within));
const heartbeat = (silence) => frame(u32(6), u64(silence));

/** Values off the front of some bytes. */
class Reader {
  constructor(data) {
    [this.data, this.at] = [data, 0];
  }
  take(length) {
    this.at += length;
    return this.data.subarray(this.at - length, this.at);
  }
  u8() {
    return this.take(1)[0];
  }
  u32() {
    return this.take(4).readUInt32LE();
  }
  u64() {
    return Number(this.take(8).readBigUInt64LE());
  }
  text() {
    return this.take(this.u64()).toString();
  }
  optional(read) {
    return this.u8() === 0 ? undefined : read();
  }
  rest() {
    return this.take(this.data.length - this.at);
  }
}

function understood(body, codec) {
  const reader = new Reader(body);
  const is = NAMES[reader.u32()];
  const payload = () => (codec === 'json' ? JSON.parse(reader.rest().toString()) : reader.rest());
  switch (is) {
    case 'Ready':
    case 'Retire':
    case 'Alive':
      return { is };
    case 'Start':
    case 'Skipped':
      return { is, job: reader.u64() };
    case 'Progress':
      return { is, job: reader.u64(), payload: payload() };
    case 'Success':
    case 'Failure':
    case 'FinalFailure':
      return { is, job: reader.u64(), ready: reader.u8() === 1, payload: payload() };
    case 'Unusable':
      return {
        is,
        job: reader.u64(),
        ready: reader.u8() === 1,
        fault: reader.u32(),
        type: reader.text(),
        message: reader.text(),
      };
    case 'Terminal': {
      const of = reader.optional(() => reader.u64());
      const read = () => reader.text();
      return { is, job: of, message: reader.text(), location: reader.optional(read), backtrace: reader.optional(read) };
    }
    default:
      throw new Error(`an unknown message: ${body.toString('hex')}`);
  }
}

/** Both ends of a pipe: Node itself connects its children by sockets. */
function pipe() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hirelings-pipe-'));
  const name = path.join(folder, 'pipe');
  assert.strictEqual(spawnSync('mkfifo', [name]).status, 0);
  const read = fs.openSync(name, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const write = fs.openSync(name, fs.constants.O_WRONLY);
  fs.rmSync(folder, { recursive: true });
  return { read, write };
}

class Pool {
  /** Starts `worker` of the folder `workers`. With `pipes` its standard streams are pipes, else sockets, as with ssh. */
  constructor(worker, settings = {}) {
    const { jobType = 'of the test', maxFrame = 1 << 30, version = 2, node = [], options, pipes = true } = settings;
    this.codec = settings.codec ?? 'json';
    const program = [...node, path.resolve(__dirname, 'workers', worker)];
    const [input, output, errors] = pipes ? [pipe(), pipe(), pipe()] : [];
    const stdio = pipes ? [input.read, output.write, errors.write] : 'pipe';
    const env = { ...process.env, ...settings.env };
    // In the tests' own runs it is set, and would have the worker report in their format.
    delete env.NODE_TEST_CONTEXT;
    this.process = spawn(process.env.HIRELINGS_NODE ?? process.execPath, program, { stdio, env, detached: true });
    if (pipes) [input.read, output.write, errors.write].forEach((fd) => fs.closeSync(fd));
    this.input = this.process.stdin ?? new Socket({ fd: input.write, readable: false });
    this.output = this.process.stdout ?? new Socket({ fd: output.read, writable: false });
    [this.stderr, this.said, this.wanted, this.held] = ['', [], [], Buffer.alloc(0)];
    this.errors = this.process.stderr ?? new Socket({ fd: errors.read, writable: false });
    this.errors.on('data', (data) => (this.stderr += data));
    this.output.on('data', (data) => this.read(data));
    this.input.on('error', () => {});
    const over = [this.process, this.output, this.errors].map(
      (of) => new Promise((resolve) => of.once('close', (...how) => resolve(how))),
    );
    this.ended = Promise.all(over).then(([[code, signal]]) => ({ code, signal, stderr: this.stderr }));
    this.ended.then((end) =>
      this.wanted.forEach(({ reject }) => reject(new Error(`it has ended: ${JSON.stringify(end)}`))),
    );
    pools.add(this);
    if (settings.greet ?? true) this.write(hello(1, version), init({ jobType, codec: this.codec, maxFrame, options }));
  }

  /** One that is ready. */
  static async ready(worker, settings) {
    const pool = new Pool(worker, settings);
    assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
    return pool;
  }

  write(...frames) {
    this.input.write(Buffer.concat(frames));
  }

  read(data) {
    this.held = Buffer.concat([this.held, data]);
    while (this.held.length >= 4 && this.held.length >= 4 + this.held.readUInt32LE()) {
      const end = 4 + this.held.readUInt32LE();
      const body = this.held.subarray(4, end);
      this.held = this.held.subarray(end);
      if (this.hello === undefined) this.hello = body;
      else this.said.push(understood(body, this.codec));
    }
    while (this.said.length > 0 && this.wanted.length > 0) this.wanted.shift().resolve(this.said.shift());
  }

  /** What it says next. */
  next() {
    if (this.said.length > 0) return Promise.resolve(this.said.shift());
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`it says nothing; on standard error: ${this.stderr}`));
      const watchdog = setTimeout(late, WATCHDOG);
      const settle = (by) => (value) => (clearTimeout(watchdog), by(value));
      this.wanted.push({ resolve: settle(resolve), reject: settle(reject) });
    });
  }

  /** What it says next but for Start, which depends on how fast it is. */
  async nextWord() {
    for (;;) {
      const word = await this.next();
      if (word.is !== 'Start') return word;
    }
  }

  /** The answer to a job. */
  async do(id, value) {
    this.write(job(id, value));
    return this.nextWord();
  }

  /** Tells it to leave, and how it ended. */
  leave() {
    this.write(leave());
    return this.ended;
  }

  /** As if the pool's process had died. */
  hangUp() {
    this.input.destroy();
  }
}

const pools = new Set();
// Nothing that a failed test has started outlives it, or keeps it from ending.
after(() => {
  for (const {
    process: { pid, exitCode, signalCode },
  } of pools) {
    if (exitCode === null && signalCode === null) process.kill(-pid, 'SIGKILL');
  }
  for (const folder of folders) fs.rmSync(folder, { recursive: true });
});

const folders = [];

/** Files of these names, which are not there yet, in a folder that no other test has. */
function files(...names) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hirelings-node-'));
  folders.push(folder);
  return names.map((name) => path.join(folder, name));
}

/** Waits until something holds that nothing tells of. */
async function eventually(what, holds) {
  for (const end = Date.now() + WATCHDOG; !holds(); await sleep(5)) assert(Date.now() < end, `${what}: too late`);
}

/** The state of a process as the kernel has it, a letter. */
function stateOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop()[0];
  } catch {
    return undefined;
  }
}

const isAlive = (pid) => ![undefined, 'Z'].includes(stateOf(pid));
const isStopped = (pid) => stateOf(pid) === 'T';

module.exports = {
  Pool,
  pipe,
  files,
  eventually,
  isAlive,
  isStopped,
  frame,
  u32,
  hello,
  init,
  job,
  timedJob,
  skip,
  leave,
  cancel,
  heartbeat,
};
