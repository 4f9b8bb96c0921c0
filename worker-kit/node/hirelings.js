'use strict';
// The interface of node-hirelings 0.4, so that a worker module written for it runs under a pool of this project:
// `new Worker()` with the events `init` and `job`, and `ready`, `start`, `progress`, `success`, `failure`,
// `terminalFailure`. Written from that package's documented behaviour. README.md says what differs.

const EventEmitter = require('events');
const fs = require('fs');
const { inspect } = require('util');
const { Link } = require('./lib/link.js');
const { DECODE_JOB } = require('./lib/shared.js');

// Only where node-hirelings would have said something to nobody.
const warn = (what) => fs.writeSync(2, `hirelings: ${what}\n`);

/** What the workers of this process share: it is one worker to the pool. */
class Session {
  constructor() {
    this.workers = [];
    // Whether the pool has sent its options, and what they are.
    [this.initialised, this.options] = [false, undefined];
    // Whether the pool waits for Ready; whether it was said too early, before the options came or the job was answered.
    [this.awaitsReady, this.readyEarly, this.running] = [false, false, false];
    this.link = new Link(
      { name: '', codec: 'json' },
      { init: (options) => this.init(options), jobs: () => this.next(), cancel() {} },
    );
  }

  init(options) {
    [this.initialised, this.awaitsReady, this.options] = [true, true, options ?? {}];
    this.deliver('init', this.options);
    if (this.readyEarly) this.ready();
  }

  deliver(op, data) {
    for (const worker of [...this.workers]) worker[`_handle_${op}`](data);
    this.onMessage?.({ op, data });
  }

  /** Gives the job that has come to the workers. */
  next() {
    const { link } = this;
    while (!this.running && !this.awaitsReady && this.initialised) {
      if (!link.take()) {
        if (link.sleep()) return;
        continue;
      }
      let job;
      try {
        job = link.codec.decode(link.payload);
      } catch (error) {
        link.unusable(true, DECODE_JOB, 'a job', error.message);
        continue;
      }
      [this.running, this.readyEarly] = [true, false];
      link.begin();
      this.deliver('job', job);
    }
  }

  ready() {
    if (this.running || !this.initialised) {
      this.readyEarly = true;
    } else if (this.awaitsReady) {
      this.awaitsReady = false;
      this.link.ready();
      // Not before the caller has returned: the event is one of the event loop.
      setImmediate(() => this.next());
    }
  }

  start() {
    if (this.running) this.link.start();
  }

  progress(data) {
    if (this.running) this.say(() => this.link.progress(data));
    else warn('a progress without a job is not sent');
  }

  success(data) {
    this.answer('success', data);
  }

  failure(data) {
    this.answer('failure', data);
  }

  answer(kind, data) {
    if (!this.running) return warn(`a ${kind} without a job is not sent`);
    this.link[kind](this.readyEarly, data, false);
    this.running = false;
    if (this.readyEarly) setImmediate(() => this.next());
    else this.awaitsReady = true;
  }

  say(act) {
    try {
      act();
    } catch (error) {
      this.link.die(error);
    }
  }

  terminalFailure(data) {
    this.link.die(typeof data === 'string' ? data : inspect(data));
  }
}

let session;

function Worker(options) {
  if (!(this instanceof Worker)) return new Worker(options);
  EventEmitter.call(this);
  this.options = options || {};
  this.id = `worker-${process.pid}`;
  session ??= new Session();
  session.workers.push(this);
  // One that comes late hears what the others have heard.
  if (session.initialised) process.nextTick(() => this._handle_init(session.options));
}

Object.setPrototypeOf(Worker.prototype, EventEmitter.prototype);
Object.setPrototypeOf(Worker, EventEmitter);

for (const name of ['ready', 'start', 'progress', 'success', 'failure']) {
  Worker.prototype[name] = function (data) {
    return this._send(name, data);
  };
}

Worker.prototype.terminalFailure = function (data) {
  session.terminalFailure(data);
};

Worker.prototype._send = function (name, data) {
  session[name](data);
};

Worker.prototype._handle_init = function (data) {
  if (typeof data === 'object' && !Array.isArray(data)) {
    // The worker's own options come before the pool's.
    this.options = this.options || {};
    for (const [name, value] of Object.entries(data)) this.options[name] ??= value;
  } else {
    this.options = data;
  }
  this.emit('init', this.options);
};

Worker.prototype._handle_job = function (data) {
  this.emit('job', data);
};

/** Pools are the Rust program's; a module that has both halves in one file can still be loaded. */
function Pool() {
  throw new Error('hirelings.Pool is not part of this kit: the pool is in the Rust program that started this worker');
}

/** The worker's messages through process.send and process.on('message'), as where a module was forked. */
function connectProcess() {
  const ops = new Set(['ready', 'start', 'progress', 'success', 'failure', 'terminalFailure']);
  const connected = () => (session ??= new Session());
  process.connected = true;
  process.send = (message, ...rest) => {
    if (ops.has(message?.op)) connected()[message.op](message.data);
    const called = rest.find((argument) => typeof argument === 'function');
    if (called) process.nextTick(called, null);
    return true;
  };
  process.disconnect = () => process.exit(0);
  process.on('newListener', (event) => {
    if (event !== 'message') return;
    connected().onMessage ??= (message) => process.emit('message', message, undefined);
  });
}

module.exports = { Pool, Worker, connectProcess };
