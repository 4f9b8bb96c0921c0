'use strict';
// Leaves a file for each job, and recovers until there is the other.

const fs = require('fs');
const { Worker, serve } = require('../..');

serve(
  class extends Worker {
    run({ file, other }) {
      fs.appendFileSync(file, '');
      this.other = other;
    }

    recover() {
      // So that the kit takes it for short, and gives the event loop no turn after it.
      const before = performance.now();
      performance.now = () => before;
      while (!fs.existsSync(this.other));
    }
  },
);
