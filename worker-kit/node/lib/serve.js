'use strict';
// Runs handlers: `serve`, `Worker`, and what a handler can say and ask of its job.

const { inspect } = require('util');
const { isMainThread } = require('worker_threads');
const { codecs } = require('./json.js');
const { Link, Unencodable, withoutKit } = require('./link.js');
const { DECODE_JOB, ENCODE_PROGRESS } = require('./shared.js');

// For so long jobs that are there follow each other before the event loop has a turn, in milliseconds.
const TURN_OF_JOBS = 5;

/** The job's own error, exactly: `throw new Failed({ code: 7 })`. */
class Failed extends Error {
  constructor(error) {
    super(typeof error === 'string' ? error : inspect(error));
    this.name = 'Failed';
    this.error = error;
  }
}

/** The process is in doubt: the job fails as panicked, and the process is replaced. */
class Panic extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = 'Panic';
  }

  get isPanic() {
    return true;
  }
}

/** A worker with state, options, or something to do between jobs. */
class Worker {}

class Context {
  #link;
  #began = Date.now();
  #aborter;
  #over = false;
  #final = false;

  constructor(link) {
    this.#link = link;
    this.jobId = link.id;
    this.attempt = link.attempt;
  }

  // These are the runner's alone.

  static end(ctx) {
    ctx.#over = true;
  }

  static isFinal(ctx) {
    return ctx.#final;
  }

  #running() {
    if (this.#over) throw new Error(`job ${this.jobId} is over: nothing more can be said of it`);
  }

  progress(value) {
    this.#running();
    this.#link.progress(value);
  }

  retire() {
    this.#running();
    this.#link.retire();
  }

  noRetry() {
    this.#final = true;
  }

  isCancelled() {
    if (this.#over) return this.#aborter?.signal.aborted ?? false;
    const cancelled = this.#link.cancelled;
    if (cancelled) this.#aborter?.abort();
    return cancelled;
  }

  get signal() {
    this.#aborter ??= new AbortController();
    this.isCancelled();
    return this.#aborter.signal;
  }

  deadline() {
    if (this.#over) return Infinity;
    const { limit, cancelledBy } = this.#link.times;
    return Math.min(this.#began + limit, cancelledBy);
  }
}

class Runner {
  constructor(worker, options) {
    this.worker = worker;
    this.recovers = typeof worker.recover === 'function';
    [this.busy, this.turned, this.ctx] = [true, 0, undefined];
    this.link = new Link(options, {
      init: (value) => this.init(value),
      jobs: () => this.resume(),
      cancel: () => this.ctx?.isCancelled(),
    });
  }

  init(options) {
    this.then(() => this.worker.init?.(options), () => {
      this.link.ready();
      this.pump();
    });
  }

  /** What fails outside a job leaves the process in doubt. */
  then(act, next) {
    let result;
    try {
      result = act();
    } catch (error) {
      return this.link.die(error);
    }
    if (!isThenable(result)) return next();
    // A promise of Node's own: others may call back twice, or give nothing.
    Promise.resolve(result).then(next).then(undefined, (error) => this.link.die(error));
  }

  resume() {
    if (!this.busy) this.pump();
  }

  pump() {
    [this.busy, this.turned] = [true, performance.now()];
    this.go();
  }

  go() {
    const { link } = this;
    for (;;) {
      if (performance.now() - this.turned > TURN_OF_JOBS) return setImmediate(() => this.pump());
      if (link.take()) {
        if (!this.run()) return undefined;
      } else {
        this.busy = !link.sleep();
        if (!this.busy) return undefined;
      }
    }
  }

  /** Whether the job is done; where it is not, `go` is called once it is. */
  run() {
    const { link } = this;
    let result;
    let job;
    try {
      job = link.codec.decode(link.payload);
    } catch (error) {
      link.unusable(!this.recovers, DECODE_JOB, 'a job', error.message);
      return this.recover();
    }
    link.begin();
    this.ctx = new Context(link);
    try {
      result = this.worker.run(job, this.ctx);
    } catch (error) {
      return this.fail(error);
    }
    if (!isThenable(result)) return this.succeed(result);
    const goOn = (done) => done && this.go();
    const settled = Promise.resolve(result).then((value) => goOn(this.succeed(value)), (error) => goOn(this.fail(error)));
    settled.then(undefined, (error) => link.die(error));
    return false;
  }

  succeed(value) {
    Context.end(this.ctx);
    this.link.success(!this.recovers, value);
    return this.recover();
  }

  fail(error) {
    const [{ link }, ready] = [this, !this.recovers];
    if (error?.isPanic) link.die(error);
    Context.end(this.ctx);
    const final = Context.isFinal(this.ctx);
    if (error instanceof Unencodable) link.unusable(ready, ENCODE_PROGRESS, undefined, error.message);
    else if (error instanceof Failed) link.failure(ready, error.error, final);
    else if (!(error instanceof Error) || hasJson(error, link.codec)) link.failure(ready, error, final);
    else link.failureText(ready, withoutKit(inspect(error)), final);
    return this.recover();
  }

  recover() {
    this.ctx = undefined;
    if (!this.recovers) return true;
    let now = true;
    let done = false;
    this.then(() => this.worker.recover(), () => {
      this.link.ready();
      done = true;
      if (!now) this.go();
    });
    now = false;
    return done;
  }
}

const hasJson = (error, codec) => typeof error.toJSON === 'function' && codec === codecs.json;
const isThenable = (value) => value !== null && typeof value === 'object' && typeof value.then === 'function';

let serving = false;

/** The worker's main: does jobs until the pool lets it go, then ends the process. */
function serve(target, { name = '', codec = 'json' } = {}) {
  if (!isMainThread) throw new Error('serve is to be called in the main thread');
  if (serving) throw new Error('serve has been called already: a process is one worker');
  if (!Object.hasOwn(codecs, codec)) {
    throw new TypeError(`the codec is ${inspect(codec)}, and must be 'json' or 'bincode'`);
  }
  if (Buffer.byteLength(name) > 4096) throw new TypeError('the name is longer than 4,096 bytes');
  const isClass = typeof target === 'function' && target.prototype instanceof Worker;
  const worker = isClass ? new target() : typeof target === 'function' ? { run: target } : target;
  if (typeof worker?.run !== 'function') {
    throw new TypeError('serve takes a function of a job, or a Worker with a method run');
  }
  serving = true;
  new Runner(worker, { name, codec });
}

module.exports = { serve, Worker, Failed, Panic };
