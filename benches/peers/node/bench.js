'use strict';
// node-hirelings, measured with the cases of benches/pipe. ../README.md says how, and what its figures mean.

const assert = require('assert');
const { spawn: start } = require('child_process');
const fs = require('fs');
const os = require('os');
const { setTimeout: sleep, setImmediate: turn } = require('timers/promises');
const { Pool } = require('hirelings');

const ALONE = '--alone'; // a process that measures one case, whose name follows
const SHORT = process.argv.includes('--short');
const LIMIT = of(300, 120); // seconds a case

// How much is done: one of two, by whether this is a short run.
function of(full, short) {
  return SHORT ? short : full;
}

const say = (line) => console.log(JSON.stringify(line));
const cannot = (name, why) => say({ case: name, cannot: why });
const digits = (number) => Number(number.toFixed(4));

function figure(name, value, unit, { limit, note } = {}) {
  const against = limit === undefined ? {} : { limit: digits(limit), ratio: digits(value / limit) };
  say({ case: name, value: digits(value), unit, ...against, note });
}

// ---------------------------------------------------------------- measuring

// The medians of each figure of some rounds, after one that does not count.
async function rounds(count, once) {
  const all = [];
  for (let round = 0; round <= count; round++) all.push(await once());
  all.shift();
  return all[0].map((_, at) => median(all.map((figures) => figures[at])));
}

function percentile(samples, percent) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor((sorted.length * percent) / 100), sorted.length - 1)];
}

const median = (samples) => percentile(samples, 50);
const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

// The sum of the numbers behind names in a file of /proc; nothing, for a thread that has ended.
function field(path, ...names) {
  try {
    const lines = fs.readFileSync(path, 'utf8').split('\n').map((line) => line.split(/\s+/));
    return sum(lines.filter(([name]) => names.includes(name)).map(([, number]) => Number(number)));
  } catch {
    return 0;
  }
}

const resident = () => field('/proc/self/status', 'VmRSS:') * 1024;

// In microseconds; in steps of 10 ms.
function cpuTime(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop().split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 1e4;
}

function switches(pid) {
  const names = ['voluntary_ctxt_switches:', 'nonvoluntary_ctxt_switches:'];
  return sum(fs.readdirSync(`/proc/${pid}/task`).map((task) => field(`/proc/${pid}/task/${task}/status`, ...names)));
}

const threadsAndDescriptors = () => ['task', 'fd'].map((folder) => fs.readdirSync(`/proc/self/${folder}`).length);

// ---------------------------------------------------------------- the work

// A small job of 64 bytes, unlike any other: text, which is what messages of JSON carry best.
const small = (number) => String(number).padStart(8, '0') + 'Z'.repeat(48) + String(number).padStart(8, '0');

// A pool with all its workers ready.
function pool(workers, options = {}) {
  const made = new Pool({
    module: `${__dirname}/worker.js`,
    max_processes: workers,
    max_jobs_per_process: Infinity,
    timeout_initializing: 100_000,
    ...options,
  });
  return new Promise((resolve) => made.spawnWorkers(() => resolve(made)));
}

const pids = (of) => Object.keys(of.worker_processes).map(Number);

const done = (of, job) =>
  new Promise((resolve, reject) => {
    of.enqueue(job, (error, result) => (error ? reject(new Error(error)) : resolve(result)));
  });

// The seconds that small jobs take, submitted at once and then waited for.
function drive(through, count) {
  const jobs = Array.from({ length: count }, (_, number) => ({ echo: small(number) }));
  return new Promise((resolve, reject) => {
    let left = count;
    const begin = seconds();
    for (const job of jobs) {
      through.enqueue(job, (error, echoed) => {
        if (echoed !== job.echo) reject(new Error(error || 'an echo is not what was sent'));
        if (--left === 0) resolve(seconds() - begin);
      });
    }
  });
}

// ---------------------------------------------------------------- the cases

const cases = {
  async latency() {
    const [count, repeats] = of([5_000, 5], [2_000, 1]);
    const one = await pool(1);
    const [p50, p99] = await rounds(repeats, async () => {
      const took = [];
      for (let number = 0; number < count; number++) took.push((await drive(one, 1)) * 1e6);
      return [percentile(took, 50), percentile(took, 99)];
    });
    figure('latency', p50, 'µs');
    figure('latency_p99', p99, 'µs');
  },

  async throughput() {
    const [count, repeats] = of([200_000, 3], [20_000, 1]);
    const two = await pool(2);
    const [rate] = await rounds(repeats, async () => [count / (await drive(two, count))]);
    figure('throughput', rate, 'jobs/s', { note: `${count} jobs` });
  },

  async payload() {
    const one = await pool(1);
    const sizes = [
      ['payload', 16 << 20, of(6, 3)],
      ['payload_1m', 1 << 20, of(60, 30)],
      ['payload_64k', 64 << 10, of(600, 300)],
    ];
    for (const [name, size, count] of sizes) {
      const data = Buffer.from(Uint8Array.from({ length: size }, (_, at) => Math.floor(at / 64) ^ at));
      const [rate] = await rounds(of(3, 1), async () => {
        const took = [];
        for (let number = 0; number < count; number++) {
          const begin = seconds();
          const echoed = Buffer.from(await done(one, { bytes: data.toString('base64') }), 'base64');
          took.push(seconds() - begin);
          assert(echoed.equals(data), 'an echo is what was sent');
        }
        return [(2 * size) / 1e6 / median(took)];
      });
      figure(name, rate, 'MB/s', { note: 'as base64, since messages are JSON' });
    }
  },

  async isolate() {
    const [count, repeats] = of([100, 3], [30, 1]);
    const two = await pool(2, { max_jobs_per_process: 2, respawn_wait: 0 });
    const [rate] = await rounds(repeats, async () => [count / (await drive(two, count))]);
    const note = 'max_jobs_per_process 2, which is one job, and respawn_wait 0';
    figure('isolate', rate, 'jobs/s', { note: `${count} jobs; ${note}` });
  },

  async spawn() {
    const [ready] = await rounds(of(40, 10), () => readyPool(2));
    figure('spawn', ready, 'ms');
  },

  async backlog() {
    const [early, measured, batch] = [10_000, 20_000, 1_000];
    const count = of(1_000_000, 100_000);
    const two = await pool(2, { timeout_working: 3_600_000 });
    two.enqueue({ hold: 1 });
    two.enqueue({ hold: 1 });
    await turn();
    const jobs = [];
    const add = async (length) => {
      const begin = seconds();
      for (let one = 0; one < length; one++) jobs.push(two.enqueue({ echo: small(jobs.length) }, () => {}));
      // A job is in the backlog in the next tick only.
      await turn();
      return ((seconds() - begin) * 1e6) / length;
    };
    const addMeasured = async () => {
      const took = [];
      for (let length = 0; length < measured; length += batch) took.push(await add(batch));
      return median(took);
    };
    const before = resident();
    while (jobs.length < early) await add(batch);
    const first = await addMeasured();
    while (jobs.length < count - measured) await add(batch);
    const last = await addMeasured();
    assert.strictEqual(two.getStats().backlog, count);
    figure('backlog', (resident() - before) / count, 'bytes/job', { note: `${count} jobs of 64 B, held` });
    figure('backlog_time', last, 'µs/job', { limit: first, note: `at ${count}, against at ${early}` });
  },

  map() {
    cannot('map', 'no map, nor anything else that takes jobs as they are needed');
  },

  async idle() {
    const length = of(10, 2);
    const eight = await pool(8);
    await Promise.all(Array.from({ length: 64 }, (_, number) => done(eight, { echo: small(number) })));
    const all = [process.pid, ...pids(eight)];
    assert.strictEqual(all.length, 9);
    await sleep(1_000);
    const before = sum(all.map(switches));
    await sleep(length * 1e3);
    const note = `8 workers, ${length} s; with the main thread, which is the pool's, and which woke to measure`;
    figure('idle', sum(all.map(switches)) - before, 'switches', { note });
  },

  async hooks() {
    const [count, repeats] = of([100_000, 3], [20_000, 1]);
    const without = await pool(2);
    const hooked = await pool(2);
    let called = 0;
    for (const name of Pool.ALL_EVENTS) hooked.on(name, () => called++);
    const [none, every] = await rounds(repeats, async () => [
      count / (await drive(without, count)),
      count / (await drive(hooked, count)),
    ]);
    assert(called >= 4 * count * (repeats + 1), `hooks were called ${called} times`);
    const note = `a listener for each of ${Pool.ALL_EVENTS.length} events; ${count} jobs`;
    figure('hooks', every, 'jobs/s', { limit: none, note });
  },

  async many() {
    const [workers, count, repeats] = of([256, 50_000, 1], [64, 10_000, 1]);
    const [ready] = await rounds(repeats, () => readyPool(workers));
    // Until the workers before have ended.
    await sleep(1_000);
    const without = threadsAndDescriptors();
    const few = await pool(2);
    const withFew = threadsAndDescriptors();
    const crowd = await pool(workers);
    const withAll = threadsAndDescriptors();
    const [threads, descriptors] = [0, 1].map(
      (at) => (withAll[at] - withFew[at] - (withFew[at] - without[at])) / (workers - 2),
    );
    const [withTwo, withMany] = await rounds(repeats, async () => [
      count / (await drive(few, count)),
      count / (await drive(crowd, count)),
    ]);
    const note = `${workers} workers`;
    figure('many', withMany, 'jobs/s', { limit: withTwo, note: `${note}, ${count} jobs` });
    figure('many_ready', ready, 'ms', { note });
    figure('many_threads', threads, 'a worker', { note });
    figure('many_descriptors', descriptors, 'a worker', { note });
  },

  async cpu() {
    const [count, repeats] = of([200_000, 3], [20_000, 1]);
    const two = await pool(2);
    const workers = pids(two);
    assert.strictEqual(workers.length, 2);
    const used = () => [cpuTime(process.pid), sum(workers.map(cpuTime))];
    const [parent, children] = await rounds(repeats, async () => {
      const before = used();
      await drive(two, count);
      return used().map((late, at) => (late - before[at]) / count);
    });
    figure('cpu', parent + children, 'µs/job', { note: `${count} jobs` });
    figure('cpu_parent', parent, 'µs/job');
    figure('cpu_worker', children, 'µs/job');
  },

  async fair() {
    const [count, repeats] = of([1_000, 3], [500, 1]);
    const two = await pool(2);
    const places = [['10', 10], ['500', count / 2], ['990', count - 10], ['last', count - 1]];
    for (const [name, at] of places) {
      const naps = new Array(count).fill(0.001);
      naps[at] = 0.2;
      const runs = [];
      for (let run = 0; run < repeats; run++) runs.push(await doNaps(two, naps));
      const limit = median(runs.map(([, told]) => listSchedule(told))) * 1e3;
      const total = median(runs.map(([took]) => took)) * 1e3;
      figure(`fair_${name}`, total, 'ms', { limit, note: `${count} jobs` });
    }
    const tiny = of(10_000, 5_000);
    const waits = [];
    for (let run = 0; run < repeats; run++) waits.push(await longestWait(two, tiny));
    figure('fair_tiny', median(waits) * 1e3, 'ms', { limit: 500, note: `${tiny} jobs` });
  },
};

async function readyPool(workers) {
  const begin = seconds();
  const made = await pool(workers);
  const took = seconds() - begin;
  made.exit();
  return [took * 1e3];
}

// Does naps, all submitted at once; how long that took, and what the workers tell of each.
async function doNaps(through, naps) {
  const begin = seconds();
  const told = await Promise.all(naps.map((nap) => done(through, { nap })));
  return [seconds() - begin, told];
}

// The seconds of two workers that each take the next job as soon as they are free, at no cost.
function listSchedule(told) {
  const until = [0, 0];
  for (const [, begin, end] of told) {
    until.sort((a, b) => a - b);
    until[0] += end - begin;
  }
  return Math.max(...until);
}

// The seconds that any tiny job waited after the worker that does not have the long one had become free.
async function longestWait(through, count) {
  const naps = new Array(count).fill(0);
  naps[count / 2] = 0.5;
  const [, told] = await doNaps(through, naps);
  const [[busy, longBegin]] = told.splice(count / 2, 1);
  const others = told.filter(([pid]) => pid !== busy).sort((a, b) => a[1] - b[1]);
  let longest = 0;
  for (let at = 1; at < others.length; at++) {
    if (others[at][1] >= longBegin) longest = Math.max(longest, others[at][1] - others[at - 1][2]);
  }
  return longest;
}

// ---------------------------------------------------------------- all of them

// Measures a case in a process and a process group of its own, none of which outlives the limit of time.
async function inAProcess(name) {
  const heap = `--max-old-space-size=${Math.floor((os.totalmem() / 2 ** 20) * 0.6)}`;
  const program = [heap, __filename, ALONE, name, ...(SHORT ? ['--short'] : [])];
  const child = start(process.execPath, program, { stdio: 'inherit', detached: true });
  const end = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Nobody is left in it.
    }
  };
  const interrupted = () => process.exit(130);
  process.once('exit', end).once('SIGINT', interrupted).once('SIGTERM', interrupted);
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    end();
  }, LIMIT * 1e3);
  const status = await new Promise((resolve) => child.once('exit', (code, by) => resolve(code ?? by)));
  clearTimeout(limit);
  end();
  process.off('exit', end).off('SIGINT', interrupted).off('SIGTERM', interrupted);
  if (late) cannot(name, `it did not end within ${LIMIT} s`);
  else if (status !== 0) cannot(name, `it ended with ${status}`);
}

async function main() {
  const asked = process.argv.slice(2).filter((argument) => argument !== '--short');
  if (asked[0] === ALONE) {
    await cases[asked[1]]();
    // Not to wait for any worker: the process that started this one ends them.
    process.exit(0);
  }
  const unknown = asked.find((name) => !(name in cases));
  if (unknown !== undefined) {
    console.error(`there is no case or option ${unknown}; the cases are ${Object.keys(cases).join(', ')}`);
    process.exit(2);
  }
  say({ peer: `node-hirelings ${require('hirelings/package.json').version}, Node ${process.versions.node}` });
  for (const name of Object.keys(cases)) if (asked.length === 0 || asked.includes(name)) await inAProcess(name);
}

main();
