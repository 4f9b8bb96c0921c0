'use strict';
// Does jobs of mixtures, as src/bin/mixture.rs does. Their payloads are bincode, by hand.

const fs = require('fs');
const { Failed, Panic, Worker, serve } = require('../../worker-kit/node');

const [ANSWER, FAIL, EXIT, KILL, ABORT, PANIC, TERMINAL, LEAK, RETIRE] = Array(9).keys();

function work(micros) {
  if (micros > 1000) return void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, micros / 1000);
  const begin = process.hrtime.bigint();
  while (process.hrtime.bigint() - begin < micros * 1000);
}

class Noting extends Worker {
  init(options) {
    this.notes = fs.openSync(options.subarray(8).toString(), 'a');
    this.note = Buffer.alloc(24);
    this.note.writeUInt32LE(process.pid, 12);
    this.note.writeBigUInt64LE(process.hrtime.bigint(), 16);
    this.kept = [];
  }

  run(act, ctx) {
    // The first thing that it does: a note of the start, in one write.
    this.note.writeBigUInt64LE(BigInt(ctx.jobId), 0);
    this.note.writeUInt32LE(ctx.attempt, 8);
    fs.writeSync(this.notes, this.note);
    const [micros, deed, until] = [act.readUInt32LE(0), act.readUInt32LE(4), act.readUInt32LE(act.length - 4)];
    const due = ctx.attempt < until;
    if (due && deed === RETIRE) ctx.retire();
    work(micros);
    if (due) this.act(deed, act, ctx.attempt);
    return Buffer.alloc(0);
  }

  act(deed, act, attempt) {
    switch (deed) {
      case FAIL: {
        const text = Buffer.from(`attempt ${attempt}`);
        const length = Buffer.alloc(8);
        length.writeUInt32LE(text.length);
        throw new Failed(Buffer.concat([length, text]));
      }
      case EXIT:
        return process.exit(0);
      case KILL:
        process.kill(process.pid, 'SIGKILL');
        for (;;);
      case ABORT:
        return process.abort();
      case PANIC:
      case TERMINAL:
        throw new Panic('told to');
      case LEAK:
        return this.kept.push(Buffer.alloc(act.readUInt32LE(8) * 1024, 1));
      default:
        return undefined;
    }
  }
}

serve(Noting, { codec: 'bincode' });
