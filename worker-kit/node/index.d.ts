/** The worker's side of hirelings, a process pool for Rust. See README.md. */

/** What a handler can ask and say of its job while it runs. */
export interface Context<Progress = unknown> {
  /** The job's number, unique in its pool; the same in each attempt. */
  readonly jobId: number;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** Aborted once the pool wants the job to come to an end, at the next turn of the event loop. */
  readonly signal: AbortSignal;
  /**
   * Sends a progress, at once; it blocks while the pool does not read. Throws TypeError where it cannot be encoded or is
   * over the pool's `max_frame`, which fails the job unless it is caught, and Error once the job is over.
   */
  progress(value: Progress): void;
  /** Begins no other job in this process: it leaves once the pool has this one's answer. */
  retire(): void;
  /** If this attempt fails with an error of its own, the job is not retried. */
  noRetry(): void;
  /** Whether the pool wants the job to come to an end. What the handler returns counts all the same. */
  isCancelled(): boolean;
  /** Until when this attempt may work, in milliseconds as of `Date.now()`; Infinity where it has no limit. */
  deadline(): number;
}

export type Handler<Job = any, Output = any, Progress = any> = (
  job: Job,
  ctx: Context<Progress>,
) => Output | Promise<Output>;

/** A worker with state, options, or something to do between jobs: extend it, and give the class to `serve`. */
export abstract class Worker<Job = any, Output = any, Options = any, Progress = any> {
  /** Once, before the first job. `options` is what the pool's builder was given, undefined without. */
  init?(options: Options): void | Promise<void>;
  /** A job. */
  abstract run(job: Job, ctx: Context<Progress>): Output | Promise<Output>;
  /** After each answer, before the next job. */
  recover?(): void | Promise<void>;
}

/** The job's own error, exactly: `error` is what the pool's error type reads. */
export class Failed<E = unknown> extends Error {
  constructor(error: E);
  readonly error: E;
}

/** The process is in doubt: the job fails as panicked, and the process ends and is replaced. */
export class Panic extends Error {}

export interface Settings {
  /** The job type's name (`Job::name` in Rust), if the worker is to refuse others. Default: it takes whatever it gets. */
  name?: string;
  /** How payloads are encoded. `bincode`: jobs and options are Buffers, and so is what is sent. Default: `json`. */
  codec?: 'json' | 'bincode';
}

/**
 * The worker's main, once in a process: does jobs until the pool lets it go, then ends the process. It returns at once.
 * Where the process was not started by a pool, it says so on standard error and exits with 2.
 */
export function serve(
  target: Handler | Worker | (new () => Worker),
  settings?: Settings,
): void;
