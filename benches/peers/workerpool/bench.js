'use strict';
// workerpool with processes, with the cases of `kit_speed`: ../README.md says how, and what the figures mean.

const { performance } = require('perf_hooks');
const workerpool = require('workerpool');

const SHORT = process.argv.includes('--short');
const [JOBS, ROUNDS, LATENCIES] = SHORT ? [20_000, 1, 1_000] : [100_000, 3, 5_000];

const say = (line) => console.log(JSON.stringify(line));
const median = (samples) => [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)];
const small = (number) => String(number).padStart(8, '0') + 'Z'.repeat(48) + String(number).padStart(8, '0');

function start(workers) {
  const options = { workerType: 'process', minWorkers: workers, maxWorkers: workers, maxQueueSize: Infinity };
  return workerpool.pool(`${__dirname}/worker.js`, options);
}

async function rate(pool) {
  const begin = performance.now();
  const jobs = Array.from({ length: JOBS }, (_, number) => pool.exec('echo', [small(number)]));
  const echoed = await Promise.all(jobs);
  if (echoed.some((text, number) => text !== small(number))) throw new Error('an echo is not what was sent');
  return (JOBS * 1e3) / (performance.now() - begin);
}

async function main() {
  say({ peer: `workerpool ${require('workerpool/package.json').version}, Node ${process.versions.node}` });
  const one = start(1);
  const took = [];
  for (let number = 0; number < LATENCIES; number++) {
    const begin = performance.now();
    await one.exec('echo', [small(number)]);
    took.push((performance.now() - begin) * 1e3);
  }
  say({ case: 'latency', value: Math.round(median(took)), unit: 'µs' });
  await one.terminate();
  for (const workers of [1, 2]) {
    const pool = start(workers);
    await rate(pool);
    const rates = [];
    for (let round = 0; round < ROUNDS; round++) rates.push(await rate(pool));
    say({
      case: `throughput_${workers}`,
      value: Math.round(median(rates)),
      unit: 'jobs/s',
      note: `${JOBS} jobs, ${workers} workers`,
    });
    await pool.terminate();
  }
}

main();
