'use strict';
// The worker of tests/integration/node_kit.rs: a job is an object with one member, or a text.

const { spawn } = require('child_process');
const { Panic, Failed, Worker, serve } = require('hirelings-worker');

serve(
  class extends Worker {
    init(options) {
      this.options = options;
    }

    run(job, ctx) {
      const [kind, value] = typeof job === 'string' ? [job] : Object.entries(job)[0];
      return this[kind](value, ctx);
    }

    Echo = (value) => value;
    Options = () => this.options;
    Numbers = (_, ctx) => [ctx.jobId, ctx.attempt];
    Sum = ([a, b]) => BigInt(a) + BigInt(b);
    Tell(count, ctx) {
      for (let n = 0; n < count; n++) ctx.progress(n);
    }
    Fail(why) {
      throw new Failed({ Refused: { why } });
    }
    Retire = (_, ctx) => ctx.retire();
    Panic(why) {
      throw new Panic(why);
    }
    Reject = (why) => new Promise(() => void Promise.reject(new TypeError(why)));
    Exit(code) {
      console.error('about to exit');
      console.log('and this is no frame');
      process.exit(code);
    }
    Spin(_, ctx) {
      ctx.progress(spawn('sleep', ['300'], { stdio: 'ignore' }).pid);
      for (;;);
    }
    NotANumber = () => NaN;
    UntilCancelled(_, ctx) {
      ctx.progress(process.pid);
      while (!ctx.isCancelled());
      return 'cancelled';
    }
  },
);
