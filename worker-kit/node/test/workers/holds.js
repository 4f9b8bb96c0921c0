'use strict';
// Holds the lock of the protocol's output, so that the guard cannot write meanwhile; or stands still between an answer and what
// comes after it.

const { PUBLISHED, QUEUED, STATE, TAKEN, Shared } = require('../../lib/shared.js');

const { create } = Shared;
let shared;
Shared.create = (output) => (shared = create(output));

const { serve } = require('../..');

const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);

function untilCancelled(ctx) {
  while (!ctx.isCancelled()) nap();
}

function standStillUntil(count) {
  const { words } = shared;
  while (((Atomics.load(words, PUBLISHED) - Atomics.load(words, TAKEN)) | 0) < count) nap();
}

const deeds = {
  /** The guard cannot write from now on, until the next job has come after the answer to this one. */
  failAndHold(ctx) {
    shared.lock();
    // What this thread says itself goes out.
    shared.lock = shared.unlock = () => {};
    ctx.progress('held');
    untilCancelled(ctx);
    shared.say = (...what) => {
      delete shared.say;
      const said = shared.say(...what);
      standStillUntil(2);
      delete shared.lock;
      delete shared.unlock;
      shared.unlock();
      return said;
    };
    throw 'no';
  },
  failAndStandStill() {
    shared.say = (...what) => {
      delete shared.say;
      const said = shared.say(...what);
      const { words } = shared;
      standStillUntil(3);
      // Where the lock was still held, the guard tries again a little later.
      while (Atomics.load(words, shared.slot(1, STATE)) === QUEUED) nap();
      return said;
    };
    throw 'no';
  },
  attempt: (ctx) => ctx.attempt,
};

serve((what, ctx) => deeds[what](ctx));
