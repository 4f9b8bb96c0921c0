'use strict';
// Leaves a file for each job, and takes its time between them.

const fs = require('fs');
const { Worker, serve } = require('../..');

serve(
  class extends Worker {
    run(file) {
      fs.appendFileSync(file, '');
    }

    recover() {
      // So that the kit takes it for short, and gives the event loop no turn after it.
      const before = performance.now();
      performance.now = () => before;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    }
  },
);
