'use strict';
// The worker: a job has one key, which says what it is.

const { Worker } = require('hirelings');

const worker = new Worker();

const work = {
  echo: (text) => text,
  // Bytes cross as base64, since messages are JSON; they are bytes on each side.
  bytes: (text) => Buffer.from(text, 'base64').toString('base64'),
  nap(seconds) {
    const begin = now();
    if (seconds > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, seconds * 1e3);
    return [process.pid, begin, now()];
  },
};

// In seconds, of a clock that all processes share.
function now() {
  return Number(process.hrtime.bigint()) / 1e9;
}

worker.on('init', () => worker.ready());
worker.on('job', (job) => {
  const [[kind, argument]] = Object.entries(job);
  // One that holds its worker is never answered.
  if (kind === 'hold') return;
  worker.success(work[kind](argument));
  worker.ready();
});
