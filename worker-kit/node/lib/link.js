'use strict';
// The main thread's side of the protocol: one call a message.

const fs = require('fs');
const path = require('path');
const { inspect } = require('util');
const { MessageChannel, receiveMessageOnPort, Worker: Thread } = require('worker_threads');
const { endGroupAfterwards } = require('./group.js');
const { codecs } = require('./json.js');
const { takeDescriptors } = require('./stdio.js');
const {
  LOWEST_VERSION, VERSION, FROM_WORKER, ANSWERS_RECALLS, MAGIC, READY, START, PROGRESS, SUCCESS, FAILURE, UNUSABLE,
  SKIPPED, RETIRE, FINAL_FAILURE, ENCODE_OUTPUT, ENCODE_ERROR, PUBLISHED, TAKEN, WAITING, WATCH, LEAVING, RETIRED,
  RUNNING, TURN, ANNOUNCED, OVERFLOWED, ENDED, OWED, STATE, CANCELLED, LENGTH, ATTEMPT, ID_LOW, ID_HIGH, SLOTS, FREE,
  QUEUED, BEGUN, TAKEN_BACK, BEING_TAKEN_BACK, LIMIT, CANCELLED_BY, SLOT_TIMES, INLINE, TICKING, FIRST_READY,
  LIMIT_OF_SILENCE, Shared, milliseconds, frame, framed, text, u32, terminalFrame,
} = require('./shared.js');

// The length, the variant, the job and whether it is ready; an answer's payload follows.
const ANSWER = 17;
const ABOUT_JOB = 16;
const TOO_LONG = (maxFrame) => `it is over the frame limit of ${maxFrame} bytes`;

/** What is thrown where a progress cannot be sent; the job fails with it, unless the handler catches it. */
class Unencodable extends TypeError {}

class Link {
  /** `on` has `init(options)`, `jobs()` for when some have come or the worker is to leave, and `cancel()`. */
  constructor({ name, codec }, on) {
    this.codec = codecs[codec];
    this.out = Buffer.allocUnsafe(64 * 1024);
    [this.job, this.payload, this.maxFrame, this.version] = [-1, undefined, 0xffffffff, 1];
    const descriptors = takeDescriptors();
    if (descriptors === null) this.unused('no pool is there: this program is a worker, which a pool starts');
    const { input, output, first } = descriptors;
    this.shared = Shared.create(output);
    this.words = this.shared.words;
    this.hello(name);
    for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => this.die(error));
    process.on('exit', () => this.shared.silence[LIMIT_OF_SILENCE] > 0 && endGroupAfterwards());
    const { port1, port2 } = new MessageChannel();
    this.large = port1;
    const workerData = { hirelings: 'guard', buffer: this.shared.buffer, input, output, first, name, codec };
    workerData.large = port2;
    // Neither the program's preloaded modules nor NODE_OPTIONS are the guard's.
    const options = { workerData, transferList: [port2], execArgv: [], env: {} };
    const bundle = globalThis[Symbol.for('hirelings.bundle')];
    this.thread = bundle
      ? new Thread(bundle, { ...options, eval: true })
      : new Thread(path.join(__dirname, 'guard.js'), options);
    this.thread.on('message', (message) => this.message(message, on));
    this.thread.on('error', (error) => this.unused(`the guard of this worker failed: ${inspect(error)}`, 1));
  }

  unused(why, status = 2) {
    fs.writeSync(2, `${why}\n`);
    process.exit(status);
  }

  hello(name) {
    const flags = FROM_WORKER | ANSWERS_RECALLS;
    const versions = Buffer.of(LOWEST_VERSION, 0, VERSION, 0);
    try {
      fs.writeSync(this.shared.output, framed(Buffer.from(MAGIC), versions, u32(flags), Buffer.from(name)));
    } catch (error) {
      this.unused(`no pool reads what this worker says: ${error.message}`);
    }
  }

  message({ init, exit, cancel }, on) {
    if (exit !== undefined) {
      // The guard holds it until its last message has gone out.
      this.shared.lock();
      process.exit(exit);
    }
    if (cancel) return on.cancel();
    if (init === undefined) return on.jobs();
    this.maxFrame = init.maxFrame;
    this.version = init.version;
    let options;
    try {
      options = init.options && this.codec.decode(Buffer.from(init.options));
    } catch (error) {
      return this.die(new Error(`the options cannot be decoded: ${error.message}`));
    }
    on.init(options);
  }

  ready() {
    this.shared.silence[FIRST_READY] ||= milliseconds();
    this.tell(frame(READY));
  }

  /** Says what lets the next job begin. Where the guard has written the last message, none does: the process ends here. */
  tell(data, length, then) {
    if (!this.shared.say(data, length, then)) process.exit(2);
  }

  // ------------------------------------------------------------- jobs

  word(word) {
    return Atomics.load(this.words, this.shared.slot(this.job, word));
  }

  /** Takes the next job, whose bytes are `payload` until the next one; false where there is none. Ends the process once all
   * that came before the pool's Leave is done. */
  take() {
    const { words, shared, leaving } = this;
    while (words[TAKEN] !== Atomics.load(words, PUBLISHED)) {
      const slot = (words[TAKEN] >>> 0) % SLOTS;
      const [length, start] = [words[shared.slot(slot, LENGTH)], slot * INLINE];
      const whole = length > INLINE && Buffer.from(receiveMessageOnPort(this.large).message);
      this.payload = whole || shared.payloads.subarray(start, start + length);
      this.job = slot;
      const state = shared.slot(slot, STATE);
      this.awaitOwed();
      shared.endIfLost();
      let before = Atomics.compareExchange(words, state, QUEUED, BEGUN);
      while (before === BEING_TAKEN_BACK) {
        Atomics.wait(words, state, BEING_TAKEN_BACK, 1);
        before = Atomics.compareExchange(words, state, QUEUED, BEGUN);
      }
      if (before === QUEUED) return true;
      this.free();
    }
    // It was looked at before the jobs: those that came before the Leave were there by then.
    if (leaving) {
      this.awaitOwed();
      process.exit(0);
    }
    return false;
  }

  /** Waits until the guard has said what it owes, without the output's lock, which it needs for that. */
  awaitOwed() {
    const { words } = this;
    for (let owed; (owed = Atomics.load(words, OWED)) !== 0; ) {
      Atomics.wait(words, OWED, owed, 1);
      // After the last message the process ends here, once all of it has gone out.
      if (Atomics.load(words, ENDED) === 1) this.tell(Buffer.alloc(0));
    }
  }

  free() {
    Atomics.store(this.words, this.shared.slot(this.job, STATE), FREE);
    [this.job, this.payload] = [-1, undefined];
    Atomics.add(this.words, TAKEN, 1);
    if (Atomics.load(this.words, OVERFLOWED) === 1) this.thread.postMessage('admit');
  }

  /** Whether there is nothing to do; `on.jobs` is called when there is. */
  sleep() {
    const { words } = this;
    Atomics.store(words, WAITING, 1);
    const idle = words[TAKEN] === Atomics.load(words, PUBLISHED) && !this.leaving;
    if (!idle) Atomics.store(words, WAITING, 0);
    return idle;
  }

  get leaving() {
    return Atomics.load(this.words, LEAVING) === 1;
  }

  /** The handler runs from here on. */
  begin() {
    const { words } = this;
    Atomics.store(words, RUNNING, this.job + 1);
    Atomics.add(words, TURN, 1);
    if (Atomics.load(words, WATCH) !== TICKING && Atomics.exchange(words, WATCH, TICKING) !== TICKING) {
      this.thread.postMessage('tick');
    }
  }

  get id() {
    return (this.word(ID_LOW) >>> 0) + (this.word(ID_HIGH) >>> 0) * 2 ** 32;
  }

  get attempt() {
    return this.word(ATTEMPT) >>> 0;
  }

  get cancelled() {
    return this.job >= 0 && this.word(CANCELLED) === 1;
  }

  /** The limit of the job that runs, in milliseconds, and until when it has to be answered after a cancel. */
  get times() {
    const at = this.job * SLOT_TIMES;
    return { limit: this.shared.times[at + LIMIT], cancelledBy: this.shared.times[at + CANCELLED_BY] };
  }

  // ------------------------------------------------------------- what is said of them

  /** Puts a message and a payload into one buffer; none where it is over the limit. */
  build(variant, ready, payload) {
    const head = ready === undefined ? ABOUT_JOB : ANSWER;
    let data = this.out;
    let length;
    if (typeof payload === 'string' && head + 3 * payload.length <= data.length) {
      length = head + data.write(payload, head);
    } else {
      const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
      length = head + bytes.length;
      if (length - 4 > this.maxFrame) return undefined;
      if (length > data.length) data = Buffer.allocUnsafe(length);
      data.set(bytes, head);
    }
    if (length - 4 > this.maxFrame) return undefined;
    data.writeUInt32LE(length - 4, 0);
    data.writeUInt32LE(variant, 4);
    data.writeInt32LE(this.word(ID_LOW), 8);
    data.writeInt32LE(this.word(ID_HIGH), 12);
    if (ready !== undefined) data[16] = ready ? 1 : 0;
    return { data, length };
  }

  progress(value) {
    let payload;
    try {
      payload = this.codec.encode(value);
    } catch (error) {
      throw new Unencodable(`the progress cannot be encoded: ${error.message}`);
    }
    const built = this.build(PROGRESS, undefined, payload);
    if (built === undefined) throw new Unencodable(`the progress cannot be sent: ${TOO_LONG(this.maxFrame)}`);
    // It says that the job has begun, too.
    Atomics.store(this.words, ANNOUNCED, Atomics.load(this.words, TURN));
    this.shared.say(built.data, built.length);
  }

  start() {
    Atomics.store(this.words, ANNOUNCED, Atomics.load(this.words, TURN));
    this.shared.say(frame(START, this.word(ID_LOW), this.word(ID_HIGH)));
  }

  /** Begins no other job: those that are there, and those that still come, go back to the pool. */
  retire() {
    const { words, shared } = this;
    if (Atomics.load(words, RETIRED) === 1) return;
    shared.lock();
    try {
      Atomics.store(words, RETIRED, 1);
      Atomics.store(words, ANNOUNCED, Atomics.load(words, TURN));
      const said = [frame(START, this.word(ID_LOW), this.word(ID_HIGH)), frame(RETIRE)];
      for (let at = (words[TAKEN] + 1) | 0; at !== Atomics.load(words, PUBLISHED); at = (at + 1) | 0) {
        const slot = (at >>> 0) % SLOTS;
        if (Atomics.compareExchange(words, shared.slot(slot, STATE), QUEUED, TAKEN_BACK) === QUEUED) {
          said.push(frame(SKIPPED, words[shared.slot(slot, ID_LOW)], words[shared.slot(slot, ID_HIGH)]));
        }
      }
      if (words[ENDED] === 0) shared.write(Buffer.concat(said));
    } finally {
      shared.unlock();
    }
    this.thread.postMessage('admit');
  }

  success(ready, value) {
    this.answer(SUCCESS, ready, ENCODE_OUTPUT, value);
  }

  /** `final`: the job is not to be retried, where the pool's version knows of that. */
  failure(ready, value, final) {
    this.answer(final && this.version >= 2 ? FINAL_FAILURE : FAILURE, ready, ENCODE_ERROR, value);
  }

  /** The same, where the error is a text whatever the codec is. */
  failureText(ready, value, final) {
    this.answer(final && this.version >= 2 ? FINAL_FAILURE : FAILURE, ready, ENCODE_ERROR, value, this.codec.ofText);
  }

  answer(variant, ready, fault, value, encode = this.codec.encode) {
    let built;
    try {
      built = this.build(variant, ready, encode(value));
    } catch (error) {
      return this.unusable(ready, fault, value, error.message);
    }
    if (built === undefined) return this.unusable(ready, fault, value, TOO_LONG(this.maxFrame));
    this.settle(built.data, built.length);
  }

  /** The job fails alone, since `value` cannot be sent, or was not understood. */
  unusable(ready, fault, value, why) {
    const longest = Math.floor(this.maxFrame / 4);
    const name = value === null || typeof value !== 'object' ? typeof value : value.constructor?.name ?? 'Object';
    const id = [u32(this.word(ID_LOW)), u32(this.word(ID_HIGH)), Buffer.of(ready ? 1 : 0)];
    this.settle(framed(u32(UNUSABLE), ...id, u32(fault), text(name, longest), text(why, longest)));
  }

  settle(data, length = data.length) {
    // No Start of it after this.
    this.tell(data, length, () => Atomics.store(this.words, RUNNING, 0));
    this.free();
  }

  // ------------------------------------------------------------- the end

  /** The last message: the process cannot go on. */
  die(error) {
    const stack = typeof error?.stack === 'string' ? withoutKit(error.stack) : undefined;
    const job = this.job < 0 ? undefined : [this.word(ID_LOW), this.word(ID_HIGH)];
    this.shared.end(terminalFrame(this.maxFrame, job, headline(error), placeOf(stack), stack));
    process.exit(1);
  }
}

function headline(error) {
  if (typeof error === 'string') return error;
  return error instanceof Error ? (error.isPanic ? error.message : String(error)) : inspect(error);
}

const OWN = [__dirname, path.join(__dirname, '..', 'hirelings.js')];
const isKit = (line) => OWN.some((own) => line.includes(own));

/** A stack without the frames of the kit and of Node that lie below the handler's. */
function withoutKit(stack) {
  const lines = stack.split('\n');
  const isFrame = (line) => line.startsWith('    at ');
  const first = lines.findIndex((line) => isFrame(line) && isKit(line));
  if (first < 0) return stack;
  return lines.filter((line, at) => at < first || !isFrame(line)).join('\n');
}

/** The first place in a stack that is not the kit's own or Node's, as file:line:column. */
function placeOf(stack) {
  for (const line of (stack ?? '').split('\n')) {
    const found = /^ +at .*?\(?((?:file:\/\/)?\/[^()]*:[0-9]+:[0-9]+)\)?$/.exec(line);
    if (found && !isKit(line)) return found[1].replace('file://', '');
  }
  return undefined;
}

module.exports = { Link, Unencodable, withoutKit };
