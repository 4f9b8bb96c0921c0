'use strict';
// What version 2 of the protocol adds.

const assert = require('assert');
const { once } = require('events');
const fs = require('fs');
const { test } = require('node:test');
const { SLOTS } = require('../lib/shared.js');
const { Pool, cancel, eventually, files, frame, heartbeat, isAlive, isStopped, job, timedJob, u32 } = require('./pool.js');

const GENERAL = 'general.js';
const done = (id, payload) => ({ is: 'Success', job: id, ready: true, payload });

/** A worker that has read its first heartbeat: the first limit may be over when it is read, on a busy machine too. */
async function withHeartbeats(settings) {
  const pool = await Pool.ready(GENERAL, settings);
  pool.write(heartbeat(600_000));
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
  return pool;
}

for (const deed of ['untilCancelled', 'untilAborted']) {
  test(`a cancel is seen by a handler that runs: ${deed}`, async () => {
    const pool = await Pool.ready(GENERAL);
    pool.write(job(1, [deed]));
    assert.strictEqual((await pool.nextWord()).payload, 'running');
    pool.write(cancel(1));
    assert.deepStrictEqual(await pool.nextWord(), done(1, deed === 'untilAborted' ? 'aborted' : 'cancelled'));
  });
}

test('a cancel before the job has begun is seen from its start, and concerns no other', async () => {
  const pool = await Pool.ready(GENERAL);
  const many = Array.from({ length: SLOTS + 6 }, (_, n) => job(n + 4, ['cancelled']));
  const last = many.length + 3;
  pool.write(
    job(1, ['untilCancelled']),
    job(2, ['cancelled']),
    job(3, ['cancelled']),
    ...many,
    cancel(2),
    cancel(last),
    cancel(999),
    cancel(1),
  );
  assert.strictEqual((await pool.nextWord()).payload, 'running');
  assert.deepStrictEqual(await pool.nextWord(), done(1, 'cancelled'));
  for (let id = 2; id <= last; id++) {
    const expected = [2, last].includes(id) ? [true, true] : [false, false];
    assert.deepStrictEqual(await pool.nextWord(), done(id, expected));
  }
});

test('the deadline is that of the limit, and of a cancel that comes before it', async () => {
  const pool = await Pool.ready(GENERAL);
  assert.deepStrictEqual(await pool.do(1, ['deadline']), done(1, 'none'));
  pool.write(timedJob(2, ['deadline'], 60_000));
  const { payload } = await pool.nextWord();
  assert(payload > 50_000 && payload <= 60_000, String(payload));
  pool.write(job(3, ['untilCancelled']), timedJob(4, ['deadline'], 60_000), cancel(4, 30_000), cancel(3));
  assert.strictEqual((await pool.nextWord()).payload, 'running');
  assert.deepStrictEqual(await pool.nextWord(), done(3, 'cancelled'));
  const { payload: sooner } = await pool.nextWord();
  assert(sooner > 20_000 && sooner <= 30_000, String(sooner));
});

test('a job that runs has until the earlier of two cancels, one that waits until the last of them', async () => {
  const pool = await Pool.ready(GENERAL);
  for (const [id, cancels] of [[1, [30_000, 60_000]], [2, [60_000, 30_000]], [3, [30_000, 2n ** 64n - 1n]]]) {
    pool.write(job(id, ['deadlineAtSignal']));
    assert.strictEqual((await pool.nextWord()).payload, 'running');
    pool.write(...cancels.map((within) => cancel(id, within)), heartbeat(600_000));
    assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
    pool.process.kill('SIGUSR2');
    const { payload } = await pool.nextWord();
    assert(payload > 20_000 && payload <= 30_000, String(payload));
  }
  pool.write(job(4, ['untilCancelled']), job(5, ['deadline']), cancel(5, 30_000), cancel(5, 60_000), cancel(4));
  assert.strictEqual((await pool.nextWord()).payload, 'running');
  assert.deepStrictEqual(await pool.nextWord(), done(4, 'cancelled'));
  const { payload } = await pool.nextWord();
  assert(payload > 50_000 && payload <= 60_000, String(payload));
});

test('a heartbeat is answered while a handler does not return', async () => {
  const pool = await Pool.ready(GENERAL);
  pool.write(job(1, ['spin']));
  assert.deepStrictEqual(await pool.next(), { is: 'Start', job: 1 });
  pool.write(heartbeat(60_000), heartbeat(60_000));
  assert.deepStrictEqual([await pool.next(), await pool.next()], [{ is: 'Alive' }, { is: 'Alive' }]);
});

test('a pool that is silent for longer than it said is lost', async () => {
  const pool = await withHeartbeats();
  const begin = Date.now();
  pool.write(job(1, ['spin']), heartbeat(300));
  assert.strictEqual((await pool.ended).signal, 'SIGKILL');
  assert(Date.now() - begin >= 300);
});

/** Stops the worker until its pool has been silent for too long for it. */
async function stopForTooLong(pool, meanwhile) {
  pool.write(heartbeat(300));
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
  await stop(pool, meanwhile);
}

/** Stops the worker for longer than 300 ms, which it does not survive. */
async function stop(pool, meanwhile) {
  const heard = performance.now();
  process.kill(pool.process.pid, 'SIGSTOP');
  await eventually('it is stopped', () => isStopped(pool.process.pid));
  meanwhile();
  await eventually('its time is over', () => performance.now() > heard + 301);
  const exit = once(pool.process, 'exit');
  process.kill(pool.process.pid, 'SIGCONT');
  assert.deepStrictEqual(await exit, [null, 'SIGKILL']);
}

test('a worker that was stopped for longer than that begins nothing that has come meanwhile', async () => {
  const pool = await withHeartbeats();
  await stopForTooLong(pool, () => pool.write(job(1, ['sleep', 0])));
  await pool.ended;
  assert.deepStrictEqual(pool.said, []);
});

test('nor what had come before', async () => {
  const [first, release, second] = files('first', 'release', 'second');
  const pool = await Pool.ready(GENERAL);
  pool.write(job(1, ['touchAndAwait', { file: first, other: release }]), job(2, ['touch', second]));
  await eventually('the first runs', () => fs.existsSync(first));
  await stopForTooLong(pool, () => fs.writeFileSync(release, ''));
  assert(!fs.existsSync(second));
});

test('nor what the first limit comes with, where it was stopped before it had read anything', async () => {
  const [file] = files('file');
  const pool = await Pool.ready(GENERAL);
  await stop(pool, () => pool.write(heartbeat(300), job(1, ['touch', file])));
  assert(!fs.existsSync(file));
});

test('the first limit begins with what it comes with, where that is not the first to be read', async () => {
  const pool = await Pool.ready(GENERAL);
  assert.deepStrictEqual(await pool.do(1, ['sleep', 301]), { is: 'Progress', job: 1, payload: 'asleep' });
  assert.deepStrictEqual(await pool.nextWord(), done(1, 301));
  pool.write(heartbeat(300));
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
});

test('a limit that ends while the guard looks at the clock does not begin anew', async () => {
  const [stand, goOn, file] = files('stand', 'goOn', 'file');
  // Longer than a busy machine needs until the guard stands still.
  const limit = 2000;
  const pool = await Pool.ready('stands.js', { env: { STAND: stand, GO_ON: goOn } });
  pool.write(heartbeat(600_000), heartbeat(limit));
  for (let n = 0; n < 2; n++) assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
  fs.writeFileSync(stand, '');
  pool.write(job(1, file));
  await eventually('it stands still', () => !fs.existsSync(stand));
  const begin = performance.now();
  await eventually('its time is over', () => performance.now() > begin + limit + 1);
  fs.writeFileSync(goOn, '');
  assert.strictEqual((await pool.ended).signal, 'SIGKILL');
  assert(!fs.existsSync(file));
});

test('one that writes now and then is not', async () => {
  const pool = await withHeartbeats();
  // Longer than a busy machine keeps one of the two waiting.
  const silence = 3000;
  const begin = Date.now();
  for (let id = 1; Date.now() - begin < silence + 300; id++) {
    pool.write(heartbeat(silence));
    assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
    assert.deepStrictEqual(await pool.do(id, ['sleep', 50]), { is: 'Progress', job: id, payload: 'asleep' });
    assert.deepStrictEqual(await pool.nextWord(), done(id, 50));
  }
});

// A pool that does not read, as where the connection to another machine stalls.
for (const pipes of [true, false]) {
  const over = `over ${pipes ? 'pipes' : 'sockets'}`;
  // More than the pipe or the socket takes.
  const many = Array(40_000).fill(heartbeat(300));
  const options = { timeout: 60_000 };

  test(`a silent pool is lost where what it was told has filled the output, ${over}`, options, async () => {
    const pool = await withHeartbeats({ pipes });
    pool.output.pause();
    pool.write(...many);
    assert.deepStrictEqual(await once(pool.process, 'exit'), [null, 'SIGKILL']);
  });

  test(`a worker that cannot understand its pool ends where it cannot say so, ${over}`, options, async () => {
    const pool = await Pool.ready(GENERAL, { pipes });
    pool.output.pause();
    pool.write(...many.map(() => heartbeat(600_000)), frame(u32(77)));
    assert.deepStrictEqual(await once(pool.process, 'exit'), [null, 'SIGKILL']);
  });

  test(`a worker that cannot understand its pool ends where nobody reads its standard error, ${over}`, options, async () => {
    const pool = await Pool.ready(GENERAL, { pipes });
    pool.errors.pause();
    pool.write(job(1, ['fillErrors']));
    await eventually('it is full', () => pool.errors.readableLength > 0);
    pool.write(heartbeat(600_000), frame(u32(77)));
    const exit = once(pool.process, 'exit');
    assert.deepStrictEqual(await pool.nextWord(), { is: 'Alive' });
    assert.strictEqual((await pool.nextWord()).is, 'Terminal');
    assert.deepStrictEqual(await exit, [null, 'SIGKILL']);
  });

  test(`a silent pool is lost while an answer waits, with all that the worker has started, ${over}`, options, async () => {
    const pool = await Pool.ready(GENERAL, { pipes });
    pool.write(job(1, ['spawn', 3_000_000]));
    const child = (await pool.nextWord()).payload;
    pool.output.pause();
    // The answer has begun, and is larger than what is read ahead.
    await eventually('it is full', () => pool.output.readableLength > 0);
    pool.write(heartbeat(300));
    assert.deepStrictEqual(await once(pool.process, 'exit'), [null, 'SIGKILL']);
    await eventually('its child has ended', () => !isAlive(child));
  });
}
