'use strict';
// Holds the lock of the protocol's output from one job to another, so that the guard cannot write meanwhile; or stands still
// between an answer and what comes after it.

const { PUBLISHED, QUEUED, STATE, TAKEN, Shared } = require('../../lib/shared.js');

const { create } = Shared;
let shared;
Shared.create = (output) => (shared = create(output));

const { serve } = require('../..');

const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);

function untilCancelled(ctx) {
  while (!ctx.isCancelled()) nap();
}

const deeds = {
  hold() {
    shared.lock();
    // What this thread says itself goes out.
    shared.lock = shared.unlock = () => {};
  },
  untilCancelled,
  release(ctx) {
    delete shared.lock;
    delete shared.unlock;
    shared.unlock();
    untilCancelled(ctx);
  },
  fail() {
    throw 'no';
  },
  failAndStandStill() {
    shared.say = (...what) => {
      delete shared.say;
      const said = shared.say(...what);
      const { words } = shared;
      while (((Atomics.load(words, PUBLISHED) - Atomics.load(words, TAKEN)) | 0) < 3) nap();
      // Where the lock was still held, the guard tries again a little later.
      while (Atomics.load(words, shared.slot(1, STATE)) === QUEUED) nap();
      return said;
    };
    throw 'no';
  },
  attempt: (ctx) => ctx.attempt,
};

serve((what, ctx) => deeds[what](ctx));
