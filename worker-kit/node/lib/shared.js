'use strict';
// What the two threads of a worker share: memory, the protocol's output, and the frames that either writes.

const fs = require('fs');
const { killGroup } = require('./group.js');

const [LOWEST_VERSION, VERSION] = [1, 2];
const [FROM_WORKER, ANSWERS_RECALLS] = [1, 2];
const MAGIC = 'hireling';
const TO_WORKER = { INIT: 0, JOB: 1, SKIP: 2, LEAVE: 3, CANCEL: 4, TIMED_JOB: 5, HEARTBEAT: 6 };
const READY = 0, START = 1, PROGRESS = 2, SUCCESS = 3, FAILURE = 4, UNUSABLE = 5, TERMINAL = 6, SKIPPED = 7, RETIRE = 8;
const FINAL_FAILURE = 9, ALIVE = 10;
const DECODE_JOB = 0, ENCODE_OUTPUT = 1, ENCODE_ERROR = 2, ENCODE_PROGRESS = 3;

// The lock holds for the protocol's output: 0 free, 1 held, 2 held and waited for.
const LOCK = 0, NAP = 1, PUBLISHED = 2, TAKEN = 3, WAITING = 4, WATCH = 5, LEAVING = 6, RETIRED = 7, RUNNING = 8;
// After ENDED nothing is written any more: the last message has been. OWED counts words of the guard's that go out before the
// next job begins.
const TURN = 9, ANNOUNCED = 10, OVERFLOWED = 11, ENDED = 12, OWED = 13, WORDS = 16;
// Jobs that have arrived lie in a ring of slots: more than the pool prefetches of its own accord. Those of the guard's own
// backlog follow when there is room.
const STATE = 0, CANCELLED = 1, LENGTH = 2, ATTEMPT = 3, ID_LOW = 4, ID_HIGH = 5, SLOT_WORDS = 8, SLOTS = 512;
const FREE = 0, QUEUED = 1, BEGUN = 2, TAKEN_BACK = 3, BEING_TAKEN_BACK = 4;
const LIMIT = 0, CANCELLED_BY = 1, SLOT_TIMES = 2;
// A longer payload has a buffer of its own.
const INLINE = 2048;
// What the guard does beside reading: nothing; look each millisecond whether a job runs on; wait for the next job.
const ASLEEP = 0, TICKING = 1, ANNOUNCED_ALL = 2;

const wordsLength = 4 * (WORDS + SLOTS * SLOT_WORDS);
const timesLength = 8 * SLOTS * SLOT_TIMES;
// When the pool was heard last, and how long it may be silent, in milliseconds; 0 where it has set no limit. FIRST_READY is
// when the worker said for the first time that it is ready: 0 before that, Infinity once something was heard after it.
const HEARD = 0, LIMIT_OF_SILENCE = 1, FIRST_READY = 2, SILENCE_TIMES = 3;
const silenceLength = 8 * SILENCE_TIMES;

/** The shared memory, and the protocol's output, as both threads see them. */
class Shared {
  constructor(buffer, output) {
    this.buffer = buffer;
    this.output = output;
    this.words = new Int32Array(buffer, 0, WORDS + SLOTS * SLOT_WORDS);
    this.times = new Float64Array(buffer, wordsLength, SLOTS * SLOT_TIMES);
    this.silence = new Float64Array(buffer, wordsLength + timesLength, SILENCE_TIMES);
    this.payloads = Buffer.from(buffer, wordsLength + timesLength + silenceLength, SLOTS * INLINE);
  }

  static create(output) {
    return new Shared(new SharedArrayBuffer(wordsLength + timesLength + silenceLength + SLOTS * INLINE), output);
  }

  slot(slot, word) {
    return WORDS + slot * SLOT_WORDS + word;
  }

  /** How long the pool may still be silent; once that is over, whatever has come meanwhile is not taken in any more, and no job
   * is begun. A worker that was stopped for so long has replied to nothing, so the pool has given it up. */
  silenceLeft(now) {
    const limit = this.silence[LIMIT_OF_SILENCE];
    return limit === 0 ? Infinity : this.silence[HEARD] + limit - (now ?? milliseconds());
  }

  endIfLost(now) {
    if (this.silenceLeft(now) <= 0) killGroup();
  }

  lock() {
    if (Atomics.compareExchange(this.words, LOCK, 0, 1) === 0) return;
    while (Atomics.exchange(this.words, LOCK, 2) !== 0) Atomics.wait(this.words, LOCK, 2);
  }

  /** Waits a millisecond at most: the guard must not be held up by a pool that does not read. */
  tryLock() {
    if (Atomics.compareExchange(this.words, LOCK, 0, 1) === 0) return true;
    if (Atomics.exchange(this.words, LOCK, 2) === 0) return true;
    Atomics.wait(this.words, LOCK, 2, 1);
    return Atomics.exchange(this.words, LOCK, 2) === 0;
  }

  /** Writes under the lock, unless the last message has been written; gives whether it did. */
  say(data, length, then) {
    this.lock();
    try {
      if (this.words[ENDED] === 1) return false;
      this.write(data, length);
      then?.();
      return true;
    } finally {
      this.unlock();
    }
  }

  /** Writes the last message. */
  end(data) {
    this.lock();
    try {
      if (this.words[ENDED] === 0) this.write(data);
      this.words[ENDED] = 1;
    } finally {
      this.unlock();
    }
  }

  unlock() {
    if (Atomics.exchange(this.words, LOCK, 0) === 2) Atomics.notify(this.words, LOCK, 1);
  }

  /** Writes all of it, for the main thread, which has the lock and may wait. */
  write(data, length = data.length) {
    for (let [at, nap] = [0, 0.05]; at < length; ) {
      const written = this.writeSome(data, at, length);
      at += written;
      nap = written > 0 ? 0.05 : Math.min(nap * 2, 5);
      if (at < length) Atomics.wait(this.words, NAP, 0, nap);
    }
  }

  /** Writes as much as the output takes at once: it does not block, so that the guard never hangs in a write. */
  writeSome(data, at, length) {
    try {
      return fs.writeSync(this.output, data, at, length - at);
    } catch (error) {
      if (error.code === 'EAGAIN') return 0;
      if (error.code === 'EPIPE') killGroup();
      throw error;
    }
  }
}

/** Of the clock that is the same in both threads. */
function milliseconds() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

// A message without a payload: the index of its variant, and the job that it speaks of.
function frame(variant, idLow, idHigh) {
  const data = Buffer.alloc(idLow === undefined ? 8 : 16);
  data.writeUInt32LE(data.length - 4, 0);
  data.writeUInt32LE(variant, 4);
  if (idLow !== undefined) {
    data.writeInt32LE(idLow, 8);
    data.writeInt32LE(idHigh, 12);
  }
  return data;
}

function u32(number) {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(number >>> 0);
  return data;
}

function text(value, longest) {
  let bytes = Buffer.from(String(value));
  // A cut never leaves half a character.
  if (bytes.length > longest) bytes = Buffer.from(bytes.subarray(0, longest).toString().replace(/\ufffd+$/, ''));
  return Buffer.concat([u32(bytes.length), u32(0), bytes]);
}

const optional = (value, longest) =>
  value === undefined ? Buffer.of(0) : Buffer.concat([Buffer.of(1), text(value, longest)]);

function framed(...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([u32(body.length), body]);
}

/** The last message. `job` is two words, or undefined. */
function terminalFrame(maxFrame, job, message, location, backtrace) {
  const longest = Math.floor(maxFrame / 4);
  const of = job === undefined ? Buffer.of(0) : Buffer.concat([Buffer.of(1), u32(job[0]), u32(job[1])]);
  const texts = [text(message, longest), optional(location, longest), optional(backtrace, longest)];
  return framed(u32(TERMINAL), of, ...texts);
}

module.exports = {
  LOWEST_VERSION, VERSION, FROM_WORKER, ANSWERS_RECALLS, MAGIC, TO_WORKER,
  READY, START, PROGRESS, SUCCESS, FAILURE, UNUSABLE, TERMINAL, SKIPPED, RETIRE, FINAL_FAILURE, ALIVE,
  DECODE_JOB, ENCODE_OUTPUT, ENCODE_ERROR, ENCODE_PROGRESS,
  PUBLISHED, TAKEN, WAITING, WATCH, LEAVING, RETIRED, RUNNING, TURN, ANNOUNCED, OVERFLOWED, ENDED, OWED,
  STATE, CANCELLED, LENGTH, ATTEMPT, ID_LOW, ID_HIGH, SLOTS, FREE, QUEUED, BEGUN, TAKEN_BACK, BEING_TAKEN_BACK,
  LIMIT, CANCELLED_BY, SLOT_TIMES, INLINE, ASLEEP, TICKING, ANNOUNCED_ALL,
  HEARD, LIMIT_OF_SILENCE, FIRST_READY, Shared, milliseconds, frame, framed, text, u32, terminalFrame,
};
