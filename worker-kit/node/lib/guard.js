'use strict';
// The guard: a thread of its own, which owns the protocol's input. It takes in jobs, answers recalls and heartbeats,
// announces jobs that run on, and ends the process group when the pool is gone, whatever the main thread does.

const fs = require('fs');
const { Socket } = require('net');
const { isMainThread, parentPort, workerData } = require('worker_threads');
const { killGroup } = require('./group.js');
const {
  LOWEST_VERSION, VERSION, FROM_WORKER, MAGIC, TO_WORKER, START, SKIPPED, ALIVE, PUBLISHED, TAKEN, WAITING, WATCH,
  LEAVING, RETIRED, RUNNING, TURN, ANNOUNCED, OVERFLOWED, ENDED, OWED, STATE, CANCELLED, LENGTH, ATTEMPT, ID_LOW, ID_HIGH,
  SLOTS, QUEUED, BEGUN, TAKEN_BACK, BEING_TAKEN_BACK, LIMIT, CANCELLED_BY, SLOT_TIMES, INLINE, ASLEEP, TICKING, ANNOUNCED_ALL,
  HEARD, LIMIT_OF_SILENCE, FIRST_READY, Shared, milliseconds, frame, terminalFrame,
} = require('./shared.js');

/** How long the main thread may take to exit, in milliseconds: one that is free does so at once, on a busy machine too. */
const EXIT_WAIT = 1000;

/** A sentence for people: the two sides do not understand each other. */
class Refused extends Error {}

class Guard {
  constructor({ buffer, input, output, first, name, codec, large }, port) {
    Object.assign(this, { port, name, codec, large, shared: new Shared(buffer, output), words: undefined });
    this.words = this.shared.words;
    this.maxFrame = 0xffffffff;
    this.stage = 0;
    [this.chunks, this.held, this.needed] = [[], 0, 4];
    // Jobs for which there is no slot, and what could not be written while the main thread was writing.
    [this.backlog, this.unsaid, this.leave] = [[], [], false];
    // What is left of the first of the unsaid.
    this.rest = undefined;
    [this.seen, this.isRefused] = [0, false];
    // The moment of the worker's first Ready, where what is being read is the first that came after it; else Infinity.
    this.nothingSince = Infinity;
    // Where this thread fails, the main thread is to hear of it, and must not wait for what is owed.
    process.on('exit', () => Atomics.store(this.words, OWED, 0));
    port.on('message', (wish) => (wish === 'tick' ? this.tick() : this.admit()));
    const guarded = (act) => (value) => {
      try {
        act(value);
      } catch (error) {
        this.refuse(error);
      }
    };
    const arrived = guarded((chunk) => this.arrived(chunk));
    if (first.length > 0) arrived(Buffer.from(first));
    const socket = new Socket({ fd: input, readable: true, writable: false });
    socket.on('data', arrived);
    socket.on('end', () => this.orphaned());
    socket.on('error', () => this.orphaned());
  }

  orphaned() {
    if (this.stage > 0) killGroup();
    this.end('no pool is there: this program is a worker, which a pool starts', false);
  }

  refuse(error) {
    this.isRefused = true;
    const why = error instanceof Refused ? error.message : `the pool cannot be understood: ${error.message}`;
    this.end(why, this.stage > 0);
  }

  end(why, tell) {
    this.complain(why);
    // Where a handler does not let the main thread exit, or the pool does not read.
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), EXIT_WAIT);
    const exit = () => this.port.postMessage({ exit: 2 });
    if (!tell) return exit();
    const settle = (said) => {
      if (!said) return;
      this.words[ENDED] = 1;
      exit();
    };
    // It is owed for ever: no job begins after it.
    Atomics.add(this.words, OWED, 1);
    this.say(() => ({ data: terminalFrame(this.maxFrame, undefined, why), settle }));
  }

  /** Says it on standard error, where a write may wait for ever: not once this thread has to notice that the pool is silent. */
  complain(why) {
    if (this.shared.silence[LIMIT_OF_SILENCE] > 0) return;
    try {
      fs.writeSync(2, `${why}\n`);
    } catch {
      // It is full, or nobody reads it.
    }
  }

  arrived(chunk) {
    // What follows something that makes no sense makes none.
    if (this.isRefused) return;
    const { shared } = this;
    // One moment: where this thread is stopped between two, a limit that is over would begin anew.
    const now = milliseconds();
    shared.endIfLost(now);
    shared.silence[HEARD] = now;
    const firstReady = shared.silence[FIRST_READY];
    this.nothingSince = firstReady || Infinity;
    if (firstReady > 0) shared.silence[FIRST_READY] = Infinity;
    this.chunks.push(chunk);
    this.held += chunk.length;
    if (this.held < this.needed) return;
    const data = this.chunks.length === 1 ? chunk : Buffer.concat(this.chunks);
    let at = 0;
    for (this.needed = 4; data.length - at >= this.needed; this.needed = 4) {
      const length = data.readUInt32LE(at);
      if (length > this.maxFrame) throw new Refused(`the pool announces a frame of ${length} bytes, over the limit`);
      this.needed = 4 + length;
      if (data.length - at < this.needed) break;
      this.take(data.subarray(at + 4, at + this.needed));
      at += this.needed;
    }
    this.chunks = at < data.length ? [data.subarray(at)] : [];
    this.held = data.length - at;
  }

  take(message) {
    if (this.stage === 0) return this.hello(message);
    const variant = message.readUInt32LE(0);
    if (this.stage === 1) return this.init(variant, message);
    switch (variant) {
      case TO_WORKER.INIT:
        return;
      case TO_WORKER.JOB:
        return this.job(message, Infinity, 16);
      case TO_WORKER.TIMED_JOB:
        return this.job(message, Number(message.readBigUInt64LE(16)), 24);
      case TO_WORKER.SKIP:
        return this.skip(message.readInt32LE(4), message.readInt32LE(8));
      case TO_WORKER.LEAVE:
        this.leave = true;
        return this.admit();
      case TO_WORKER.CANCEL:
        return this.cancel(message.readInt32LE(4), message.readInt32LE(8), message.readBigUInt64LE(12));
      case TO_WORKER.HEARTBEAT:
        return this.heartbeat(Number(message.readBigUInt64LE(4)));
      default:
        throw new Refused(`the pool wrote an unknown message, ${variant}`);
    }
  }

  hello(message) {
    const magic = message.subarray(0, 8).toString('latin1');
    if (message.length < 16 || magic !== MAGIC || message.readUInt32LE(12) & FROM_WORKER) {
      throw new Refused('what is on standard input is no pool: this program is a worker, which a pool starts');
    }
    this.stage = 1;
    this.version = Math.min(message.readUInt16LE(10), VERSION);
    if (this.version < Math.max(message.readUInt16LE(8), LOWEST_VERSION)) {
      throw new Refused(`the pool speaks no version of the protocol from ${LOWEST_VERSION} to ${VERSION}`);
    }
  }

  init(variant, message) {
    if (variant !== TO_WORKER.INIT) throw new Refused('the first message of the pool is no Init');
    let at = 4;
    const next = () => {
      const length = Number(message.readBigUInt64LE(at));
      if (length > message.length - at - 8) throw new Refused('the Init of the pool ends too early');
      at += 8 + length;
      return message.toString('utf8', at - length, at);
    };
    const [jobType, codec] = [next(), next()];
    const [maxFrame, hasOptions] = [Number(message.readBigUInt64LE(at)), message[at + 8] === 1];
    this.maxFrame = Math.min(maxFrame, 0xffffffff);
    if (this.name !== '' && this.name !== jobType) {
      throw new Refused(`this worker does jobs of the type ${this.name}, the pool has ${jobType}`);
    }
    if (codec !== this.codec) {
      const hint = this.codec === 'json' ? ': build the pool with .codec(Codec::Json)' : '';
      throw new Refused(`this worker reads payloads in ${this.codec}, the pool writes them in ${codec}${hint}`);
    }
    this.stage = 2;
    const options = hasOptions ? Uint8Array.from(message.subarray(at + 9)) : undefined;
    this.port.postMessage({ init: { version: this.version, maxFrame: this.maxFrame, options } });
  }

  job(message, limit, at) {
    const [attempt, payload] = [message.readUInt32LE(12), message.subarray(at)];
    if (at > message.length) throw new Refused('a job of the pool ends too early');
    const job = { low: message.readInt32LE(4), high: message.readInt32LE(8), attempt, limit, payload };
    if (this.backlog.length > 0 || !this.publish(job)) {
      // Its bytes are those of all that arrived with it.
      this.backlog.push({ ...job, payload: Buffer.from(payload), cancelledBy: undefined });
      Atomics.store(this.words, OVERFLOWED, 1);
      this.admit();
    }
  }

  /** Moves jobs from the guard's backlog into the slots, and has the main thread leave behind the last of them. */
  admit() {
    while (this.backlog.length > 0) {
      // One that the main thread has taken back by then must not be found here any more.
      const job = this.backlog.shift();
      if (this.publish(job)) continue;
      this.backlog.unshift(job);
      return;
    }
    Atomics.store(this.words, OVERFLOWED, 0);
    if (!this.leave) return;
    Atomics.store(this.words, LEAVING, 1);
    this.wake();
  }

  publish({ low, high, attempt, limit, payload, cancelledBy }) {
    const { words, shared } = this;
    if (Atomics.load(words, RETIRED) === 1) return this.say(() => ({ data: frame(SKIPPED, low, high) }));
    const published = Atomics.load(words, PUBLISHED);
    if (((published - Atomics.load(words, TAKEN)) | 0) >= SLOTS) return false;
    const slot = (published >>> 0) % SLOTS;
    words[shared.slot(slot, ID_LOW)] = low;
    words[shared.slot(slot, ID_HIGH)] = high;
    words[shared.slot(slot, ATTEMPT)] = attempt;
    words[shared.slot(slot, LENGTH)] = payload.length;
    words[shared.slot(slot, CANCELLED)] = cancelledBy === undefined ? 0 : 1;
    shared.times[slot * SLOT_TIMES + LIMIT] = limit;
    shared.times[slot * SLOT_TIMES + CANCELLED_BY] = cancelledBy ?? Infinity;
    if (payload.length <= INLINE) {
      payload.copy(shared.payloads, slot * INLINE);
    } else {
      const own = new SharedArrayBuffer(payload.length);
      payload.copy(Buffer.from(own));
      this.large.postMessage(own);
    }
    Atomics.store(words, shared.slot(slot, STATE), QUEUED);
    Atomics.add(words, PUBLISHED, 1);
    // The main thread retires first and goes through the slots then; whoever is the later of the two sees this one.
    if (Atomics.load(words, RETIRED) === 1) this.skip(low, high);
    this.watch();
    return this.wake() || true;
  }

  /** The attempt of a job that came last, if it has not been answered, and where it is: in a slot, or in the backlog. The one
   * before may be in its slot still, since its answer is written before that is free. */
  find(low, high) {
    const { words, shared } = this;
    const waits = this.backlog.findLast((job) => job.low === low && job.high === high);
    if (waits) return { attempt: waits.attempt, waits };
    const taken = Atomics.load(words, TAKEN);
    for (let at = Atomics.load(words, PUBLISHED); at !== taken; at = (at - 1) | 0) {
      const slot = ((at - 1) >>> 0) % SLOTS;
      const state = Atomics.load(words, shared.slot(slot, STATE));
      const same = words[shared.slot(slot, ID_LOW)] === low && words[shared.slot(slot, ID_HIGH)] === high;
      if (same && (state === QUEUED || state === BEGUN)) return { attempt: words[shared.slot(slot, ATTEMPT)] >>> 0, slot };
    }
    return undefined;
  }

  /** Once this can be said, the next attempt of the job may be here, which is not the one that is recalled. Until then no job
   * begins, nor this one. */
  skip(low, high) {
    const recalled = this.find(low, high)?.attempt;
    if (recalled === undefined) return;
    Atomics.add(this.words, OWED, 1);
    const done = () => {
      Atomics.sub(this.words, OWED, 1);
      Atomics.notify(this.words, OWED);
    };
    this.say(() => this.recall(low, high, recalled), done);
  }

  /** Takes a job back with the word that says so, or not at all: no later job may be answered before that word. */
  recall(low, high, recalled) {
    const { words, shared, backlog } = this;
    const { attempt, slot, waits } = this.find(low, high) ?? {};
    if (attempt !== recalled) return undefined;
    const data = frame(SKIPPED, low, high);
    if (waits) return { data, settle: (said) => said && backlog.splice(backlog.indexOf(waits), 1) };
    const state = shared.slot(slot, STATE);
    if (Atomics.compareExchange(words, state, QUEUED, BEING_TAKEN_BACK) !== QUEUED) return undefined;
    const settle = (said) => {
      Atomics.store(words, state, said ? TAKEN_BACK : QUEUED);
      Atomics.notify(words, state);
    };
    return { data, settle };
  }

  cancel(low, high, within) {
    const by = within === 2n ** 64n - 1n ? Infinity : Date.now() + Number(within);
    const { slot, waits } = this.find(low, high) ?? {};
    if (waits) waits.cancelledBy = by;
    if (slot === undefined) return;
    const { words, shared } = this;
    const at = slot * SLOT_TIMES + CANCELLED_BY;
    // A later Cancel gives a job that runs no more time. For one that waits the last Cancel counts.
    const runs = Atomics.load(words, shared.slot(slot, STATE)) === BEGUN;
    shared.times[at] = runs ? Math.min(shared.times[at], by) : by;
    Atomics.store(words, shared.slot(slot, CANCELLED), 1);
    this.port.postMessage({ cancel: true });
  }

  /** The first limit may be over already, where it is among the first words after Ready: the pool has given up a worker that
   * has replied to nothing for so long. No job has come before it. */
  heartbeat(limit) {
    const { silence } = this.shared;
    const isFirst = silence[LIMIT_OF_SILENCE] === 0;
    if (isFirst && limit > 0 && silence[HEARD] - this.nothingSince >= limit) killGroup();
    this.say(() => ({ data: frame(ALIVE) }));
    silence[LIMIT_OF_SILENCE] = limit;
    this.listen();
  }

  wake() {
    if (Atomics.exchange(this.words, WAITING, 0) === 1) this.port.postMessage({});
  }

  /** Writes a frame as soon as the output takes it, in order, and returns before that. `make` gives the frame, and what is to
   * be done once it is known whether it goes out; or nothing, where there is nothing to say any more. `done` is called once
   * nothing of it is left. */
  say(make, done) {
    if (this.unsaid.length > 0 || !this.write(make)) {
      this.unsaid.push({ make, done });
      if (this.unsaid.length === 1) this.retry();
    } else {
      done?.();
    }
    return true;
  }

  retry() {
    setTimeout(() => {
      while (this.unsaid.length > 0 && this.write(this.unsaid[0].make)) this.unsaid.shift().done?.();
      if (this.unsaid.length > 0) this.retry();
    }, 2);
  }

  /** Whether there is nothing left of it to write. While a part of it is left, nobody else gets the lock. */
  write(make) {
    const { shared, rest } = this;
    if (!rest && !shared.tryLock()) return false;
    this.rest = undefined;
    try {
      if (!rest && this.words[ENDED] === 1) return true;
      const { data, settle } = rest ?? make() ?? {};
      if (data === undefined) return true;
      const written = shared.writeSome(data, 0, data.length);
      settle?.(written > 0);
      if (written === data.length) return true;
      if (rest || written > 0) this.rest = { data: data.subarray(written) };
      return false;
    } finally {
      if (!this.rest) shared.unlock();
    }
  }

  /** Once a heartbeat has come, the pool is lost where nothing comes for as long as it said. */
  listen() {
    clearTimeout(this.silenceTimer);
    this.shared.endIfLost();
    const left = Math.min(Math.ceil(this.shared.silenceLeft()), 2 ** 31 - 1);
    this.silenceTimer = setTimeout(() => this.listen(), left);
  }

  watch() {
    if (Atomics.exchange(this.words, WATCH, TICKING) !== TICKING) this.tick();
  }

  /** Announces a job that still runs at the second look, and sleeps then until the main thread goes on. */
  tick() {
    if (this.ticker) return;
    const { words } = this;
    this.ticker = setInterval(() => {
      const turn = Atomics.load(words, TURN);
      const [same, running] = [turn === this.seen, Atomics.load(words, RUNNING) !== 0];
      this.seen = turn;
      if (!same) return;
      if (running) this.say(() => this.start(turn));
      Atomics.store(words, WATCH, running ? ANNOUNCED_ALL : ASLEEP);
      // The main thread changes the turn first and looks at this second, so one of the two always notices the other.
      if (Atomics.load(words, TURN) !== turn) return Atomics.store(words, WATCH, TICKING);
      clearInterval(this.ticker);
      this.ticker = undefined;
    }, 1);
  }

  start(turn) {
    const { words, shared } = this;
    const slot = Atomics.load(words, RUNNING) - 1;
    if (slot < 0 || Atomics.load(words, TURN) !== turn || Atomics.load(words, ANNOUNCED) === turn) return undefined;
    const data = frame(START, words[shared.slot(slot, ID_LOW)], words[shared.slot(slot, ID_HIGH)]);
    return { data, settle: (said) => said && Atomics.store(words, ANNOUNCED, turn) };
  }
}

if (!isMainThread && workerData?.hirelings === 'guard') new Guard(workerData, parentPort);
