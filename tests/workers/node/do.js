'use strict';
// The general worker of the tests (`Do`, in tests/src/lib.rs), as far as the tests of dead parents need it.

const { spawn, spawnSync } = require('child_process');
const { serve } = require('../../../worker-kit/node');

function run(job, ctx) {
  const [kind, of] = typeof job === 'string' ? [job, undefined] : Object.entries(job)[0];
  switch (kind) {
    case 'Then':
      return of.map((step) => run(step, ctx)).pop();
    case 'Spawn':
      ctx.progress({ Spawned: spawn('sh', ['-c', of], { stdio: ['ignore', 'inherit', 'inherit'] }).pid });
      return '';
    case 'Run':
      return String(spawnSync('sh', ['-c', of], { stdio: ['ignore', 'inherit', 'inherit'] }).status);
    // Its gate stays closed.
    case 'Wait':
      ctx.progress('Waiting');
      return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    case 'Retire':
      ctx.retire();
      return '';
    case 'Spin':
      for (;;);
    case 'Pid':
      return String(process.pid);
    default:
      throw new TypeError(`this worker does no ${kind}`);
  }
}

serve(run, { name: 'hirelings_tests::Do' });
