import { serve, Worker } from '../../index.mjs';

class Sum extends Worker {
  async init(options) {
    if (options.start === null) throw new Error('there is no start');
    [this.sum, this.recovered] = [options.start, 0];
  }

  run(number) {
    this.sum += number;
    return { sum: this.sum, recovered: this.recovered };
  }

  async recover() {
    await new Promise(setImmediate);
    this.recovered++;
  }
}

serve(Sum, { name: process.env.NAME });
