'use strict';
// What a handler can do, said to a pool by hand.

const assert = require('assert');
const fs = require('fs');
const { test } = require('node:test');
const { SLOTS } = require('../lib/shared.js');
const { Pool, cancel, eventually, files, frame, heartbeat, hello, init, isAlive, job, skip, leave, u32 } = require('./pool.js');

const GENERAL = 'general.js';

/** A test with a worker that is ready, over pipes and over sockets. */
function both(name, act, settings = {}) {
  for (const pipes of [true, false]) {
    test(`${name}, over ${pipes ? 'pipes' : 'sockets'}`, async () =>
      act(await Pool.ready(GENERAL, { ...settings, pipes })));
  }
}

const done = (id, payload) => ({ is: 'Success', job: id, ready: true, payload });

both('sync and async handlers, in order, and leaving', async (pool) => {
  pool.write(job(1, ['echo', { a: [1, 'ü', null] }]), job(2, ['later', 2]), job(3, ['numbers'], 4), leave());
  assert.deepStrictEqual(await pool.nextWord(), done(1, { a: [1, 'ü', null] }));
  assert.deepStrictEqual(await pool.nextWord(), done(2, 2));
  assert.deepStrictEqual(await pool.nextWord(), done(3, [3, 4]));
  assert.deepStrictEqual(await pool.ended, { code: 0, signal: null, stderr: '' });
});

both('all that came before a Leave is done before it', async (pool) => {
  // More than there are slots for.
  const ids = Array.from({ length: 3 * SLOTS }, (_, n) => n + 1);
  pool.write(...ids.map((id) => job(id, ['echo', id])), leave());
  for (const id of ids) assert.deepStrictEqual(await pool.nextWord(), done(id, id));
  assert.deepStrictEqual(await pool.ended, { code: 0, signal: null, stderr: '' });
});

both('what is printed does not touch the protocol', async (pool) => {
  assert.deepStrictEqual(await pool.do(1, ['print', 'here']), done(1, null));
  assert.deepStrictEqual(await pool.do(2, ['input']), done(2, ''));
  const { payload } = await pool.do(3, ['descriptors']);
  // The listing's own output is 1, and the folder that it lists.
  assert.match(payload, / 0 -> \/dev\/null\n/);
  const own = payload
    .split('\n')
    .filter((line) => / [0-9]+ -> /.test(line))
    .map((line) => line.replace(/.* ([0-9]+) -> .*/, '$1'));
  const inherited = fs.readdirSync('/proc/self/fd');
  assert.deepStrictEqual(
    own.filter((fd) => Number(fd) > 3 && !inherited.includes(fd)),
    [],
  );
  assert.deepStrictEqual(await pool.leave(), { code: 0, signal: null, stderr: 'here\n'.repeat(5) });
});

both('a recall is answered while a handler does not return, and a job that runs on is announced', async (pool) => {
  const [release] = files('release');
  pool.write(job(1, ['awaitFile', release]), job(2, ['echo', 2]), job(3, ['echo', 3]));
  assert.deepStrictEqual(await pool.next(), { is: 'Start', job: 1 });
  pool.write(skip(2), skip(1), skip(7));
  assert.deepStrictEqual(await pool.next(), { is: 'Skipped', job: 2 });
  fs.writeFileSync(release, '');
  assert.deepStrictEqual(await pool.nextWord(), done(1, null));
  assert.deepStrictEqual(await pool.nextWord(), done(3, 3));
});

test('a recall that could not be answered at once takes back no later attempt of the job', async () => {
  const pool = await Pool.ready('holds.js');
  pool.write(job(1, 'failAndHold'));
  assert.strictEqual((await pool.nextWord()).payload, 'held');
  // The cancel ends the job once the guard has read the recall.
  pool.write(skip(1), cancel(1));
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Failure', job: 1, ready: true, payload: 'no' });
  pool.write(job(1, 'attempt', 2));
  assert.deepStrictEqual(await pool.nextWord(), done(1, 2));
});

const LONGER_THAN_START = 100;

both('a job whose recall was read while an answer was being written is not begun after it', async (pool) => {
  const [file] = files('file');
  pool.output.pause();
  pool.write(job(1, ['long', 3_000_000]), job(2, ['touch', file]));
  await eventually('the answer waits', () => pool.output.readableLength > LONGER_THAN_START);
  // More than a pipe or a socket takes: the recall in front of it has been read once all of this has been written.
  const large = 'y'.repeat(3_000_000);
  pool.write(skip(2), job(3, ['echo', large]));
  await eventually('the recall is read', () => pool.input.writableLength === 0);
  pool.output.resume();
  assert.strictEqual((await pool.nextWord()).job, 1);
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Skipped', job: 2 });
  assert.deepStrictEqual(await pool.nextWord(), done(3, large));
  assert(!fs.existsSync(file));
});

test('nor is one after last words that could not be said while an answer was being written', async () => {
  const [file] = files('file');
  const pool = await Pool.ready(GENERAL);
  pool.output.pause();
  pool.write(job(1, ['long', 3_000_000]), job(2, ['echo', 2]), job(3, ['touch', file]));
  await eventually('the answer waits', () => pool.output.readableLength > LONGER_THAN_START);
  pool.write(skip(2), frame(u32(99)));
  await eventually('it says so', () => pool.stderr.includes('an unknown message, 99'));
  pool.output.resume();
  const { code, signal } = await pool.ended;
  const said = pool.said.map(({ is }) => is).filter((is) => is !== 'Start');
  // On a busy machine the guard may end it before all is said.
  assert(code === 2 || signal === 'SIGKILL', `${code} ${signal}`);
  assert.deepStrictEqual(said, ['Success', 'Skipped', 'Terminal'].slice(0, signal ? said.length : 3));
  assert(!fs.existsSync(file));
});

test('a recall is of the last attempt, also where the slot of the one before is not free yet', async () => {
  const pool = await Pool.ready('holds.js');
  pool.write(job(1, 'failAndStandStill'));
  assert.strictEqual((await pool.nextWord()).is, 'Failure');
  // It goes on once the last of these has come.
  pool.write(job(1, 'attempt', 2), skip(1), job(2, 'attempt'));
  assert.deepStrictEqual(await pool.nextWord(), { is: 'Skipped', job: 1 });
  assert.deepStrictEqual(await pool.nextWord(), done(2, 1));
});

both('the end of the input ends the group within a second, busy or not', async (pool) => {
  pool.write(job(1, ['spawn']));
  let word = await pool.next();
  if (word.is === 'Start') word = await pool.next();
  const child = word.payload;
  assert(isAlive(child));
  const begin = Date.now();
  pool.hangUp();
  assert.deepStrictEqual(await pool.ended, { code: null, signal: 'SIGKILL', stderr: '' });
  await eventually('its child has ended', () => !isAlive(child));
  // Within a second, and what a busy machine adds.
  assert(Date.now() - begin < 5000, `${Date.now() - begin} ms`);
});

both('a worker on another machine that leaves ends its group', async (pool) => {
  pool.write(heartbeat(600_000));
  assert.deepStrictEqual(await pool.next(), { is: 'Alive' });
  const { payload: child } = await pool.do(1, ['spawn', 1]);
  assert.deepStrictEqual(await pool.nextWord(), done(1, 'x'));
  assert(isAlive(child));
  assert.deepStrictEqual(await pool.leave(), { code: 0, signal: null, stderr: '' });
  await eventually('its child has ended', () => !isAlive(child));
});

both('a handler that never returns does not keep a worker that cannot understand its pool', async (pool) => {
  pool.write(job(1, ['spin']));
  assert.deepStrictEqual((await pool.next()).is, 'Start');
  pool.write(frame(u32(77)));
  const { is, job: of, message } = await pool.next();
  assert.deepStrictEqual([is, of], ['Terminal', undefined]);
  assert.match(message, /unknown message, 77/);
  // The main thread cannot exit, so the guard ends the process.
  assert.strictEqual((await pool.ended).signal, 'SIGKILL');
});

test('an idle worker ends with its pool too', async () => {
  const pool = await Pool.ready(GENERAL);
  pool.hangUp();
  assert.strictEqual((await pool.ended).signal, 'SIGKILL');
});

test('errors: the value of Failed, the text of an exception with its stack, what else is thrown', async () => {
  const pool = await Pool.ready(GENERAL);
  const failed = (id, payload) => ({ is: 'Failure', job: id, ready: true, payload });
  assert.deepStrictEqual(await pool.do(1, ['fail', { code: 7 }]), failed(1, { code: 7 }));
  assert.deepStrictEqual(await pool.do(2, ['throw', 'a text']), failed(2, 'a text'));
  for (const [id, deed, name] of [
    [3, 'error', 'TypeError'],
    [4, 'reject', 'RangeError'],
  ]) {
    const { is, payload } = await pool.do(id, [deed, 'it is wrong']);
    assert.strictEqual(is, 'Failure');
    assert.match(payload, new RegExp(`^${name}: it is wrong\n    at .*general\\.js:`));
    assert.doesNotMatch(payload, /node\/lib/);
  }
  assert.deepStrictEqual(await pool.do(5, ['failForGood', 'no']), { ...failed(5, 'no'), is: 'FinalFailure' });
  assert.deepStrictEqual(await pool.do(6, ['echo', 1]), done(6, 1));
});

test('version 1 knows no final failure', async () => {
  const pool = await Pool.ready(GENERAL, { version: 1 });
  assert.strictEqual((await pool.do(1, ['failForGood', 'no'])).is, 'Failure');
});

for (const deed of ['panic', 'uncaught', 'rejected']) {
  test(`last words: ${deed}`, async () => {
    const pool = await Pool.ready(GENERAL);
    const { backtrace, location, ...word } = await pool.do(5, [deed, 'boom']);
    const message = deed === 'panic' ? 'boom' : 'Error: boom';
    assert.deepStrictEqual(word, { is: 'Terminal', job: 5, message });
    assert.match(location, /^\/.*general\.js:[0-9]+:[0-9]+$/);
    assert.match(backtrace, /boom\n    at /);
    assert.strictEqual((await pool.ended).code, 1);
  });
}

test('exit and kill are what they are', async () => {
  for (const [deed, argument, code, signal] of [
    ['exit', 3, 3, null],
    ['exit', 0, 0, null],
    ['kill', 'SIGSEGV', null, 'SIGSEGV'],
  ]) {
    const pool = await Pool.ready(GENERAL);
    pool.write(job(1, [deed, argument]));
    const end = await pool.ended;
    assert.deepStrictEqual([end.code, end.signal], [code, signal]);
    assert(pool.said.every(({ is }) => is === 'Start'));
  }
});

test('progress, and none of it once the job is over', async () => {
  const pool = await Pool.ready(GENERAL);
  pool.write(job(1, ['tell', 100]));
  for (let n = 0; n < 100; n++) assert.deepStrictEqual(await pool.nextWord(), { is: 'Progress', job: 1, payload: n });
  assert.deepStrictEqual(await pool.nextWord(), done(1, 100));
  assert.deepStrictEqual(await pool.do(2, ['afterwards']), done(2, null));
  assert.deepStrictEqual(await pool.do(3, ['kept']), done(3, 'job 2 is over: nothing more can be said of it'));
});

test('one that retires begins no other job', async () => {
  const pool = await Pool.ready(GENERAL);
  pool.write(job(1, ['retire', 50]), job(2, ['echo', 2]), job(3, ['echo', 3]));
  const said = [];
  while (said.length < 4) said.push(await pool.nextWord());
  pool.write(job(4, ['echo', 4]), skip(3));
  said.push(await pool.nextWord());
  assert.deepStrictEqual(said[0], { is: 'Retire' });
  assert.deepStrictEqual(
    said.filter(({ is }) => is === 'Skipped').map((word) => word.job),
    [2, 3, 4],
  );
  assert.deepStrictEqual(
    said.filter(({ is }) => is === 'Success'),
    [done(1, null)],
  );
  assert.strictEqual((await pool.leave()).code, 0);
});

for (const [when, worker] of [['the handler runs', GENERAL], ['it recovers', 'recovers.js']]) {
  test(`no job is begun after the last words of the guard, which come while ${when}`, async () => {
    const [first, second, release] = files('first', 'second', 'release');
    const pool = await Pool.ready(worker);
    if (worker === GENERAL) {
      pool.write(job(1, ['awaitUnnoticed', release]), job(2, ['touch', second]));
      assert.deepStrictEqual(await pool.next(), { is: 'Start', job: 1 });
    } else {
      pool.write(job(1, { file: first, other: release }), job(2, { file: second, other: release }));
      assert.deepStrictEqual(await pool.nextWord(), { ...done(1, null), ready: false });
    }
    // What it cannot understand.
    pool.write(frame(u32(99)));
    const { is, job: of, message } = await pool.next();
    assert.deepStrictEqual([is, of], ['Terminal', undefined]);
    assert.match(message, /an unknown message, 99/);
    fs.writeFileSync(release, '');
    const { code, signal } = await pool.ended;
    // On a busy machine the guard may come before it.
    assert(code === 2 || signal === 'SIGKILL', `${code} ${signal}`);
    assert(!fs.existsSync(second));
  });
}

test('more jobs than there are slots, and large ones, in order, some of them recalled', async () => {
  const pool = await Pool.ready(GENERAL);
  const large = 'y'.repeat(300_000);
  const echo = (value, n) => job(n + 2, ['echo', value]);
  const count = 2 * SLOTS;
  const all = Array.from({ length: count }, (_, n) => (n % 100 === 7 ? large : n));
  pool.write(job(1, ['untilCancelled']));
  // Else what is said of the recalls may come before it.
  assert.strictEqual((await pool.nextWord()).payload, 'running');
  pool.write(
    ...all.slice(0, 40).map(echo),
    skip(9),
    skip(30),
    ...all.slice(40).map((value, n) => echo(value, n + 40)),
    skip(count - 10),
    skip(count - 41),
    cancel(1),
  );
  const skipped = [];
  const answered = [];
  while (skipped.length + answered.length < count + 1) {
    const word = await pool.nextWord();
    (word.is === 'Skipped' ? skipped : answered).push(word);
  }
  assert.deepStrictEqual(
    skipped.map((word) => word.job).sort((a, b) => a - b),
    [9, 30, count - 41, count - 10],
  );
  const expected = all
    .map((value, n) => done(n + 2, value))
    .filter((word) => !skipped.some((one) => one.job === word.job));
  assert.deepStrictEqual(answered, [done(1, 'cancelled'), ...expected]);
});

both('answers larger than a pipe, to a pool that reads late', async (pool) => {
  pool.output.pause();
  pool.write(job(1, ['long', 3_000_000]), job(2, ['echo', 2]));
  // The other job is answered behind the first; the guard still answers while the main thread waits for room.
  await eventually('it is full', () => pool.output.readableLength > 0);
  pool.output.resume();
  assert.strictEqual((await pool.nextWord()).payload.length, 3_000_000);
  assert.deepStrictEqual(await pool.nextWord(), done(2, 2));
});

test('what is over the frame limit fails its job alone', async () => {
  const pool = await Pool.ready(GENERAL, { maxFrame: 1024 });
  const { is, fault, message } = await pool.do(1, ['long', 2000]);
  assert.deepStrictEqual([is, fault], ['Unusable', 1]);
  assert.match(message, /over the frame limit of 1024 bytes/);
  assert.strictEqual((await pool.do(2, ['throw', 'x'.repeat(990)])).is, 'Failure');
  assert.deepStrictEqual(await pool.do(3, ['echo', 1]), done(3, 1));
});

test('values that have no JSON are errors', async () => {
  const pool = await Pool.ready(GENERAL);
  let id = 0;
  for (const what of ['NaN', 'infinity', 'map', 'set', 'function', 'hole', 'date', 'floats', 'circle']) {
    for (const [deed, fault] of [
      ['output', 1],
      ['wrongError', 2],
      ['progress', 3],
    ]) {
      const word = await pool.do(++id, [deed, what]);
      assert.deepStrictEqual([word.is, word.fault, what], ['Unusable', fault, what]);
      assert.notStrictEqual(word.message, '');
    }
  }
  assert.deepStrictEqual(await pool.do(++id, ['output', 'bytes']), done(id, { data: 'AQI=' }));
  assert.deepStrictEqual(await pool.do(++id, ['output', 'buffer']), done(id, 'AQI='));
  assert.deepStrictEqual(await pool.do(++id, ['output', 'none']), done(id, { bytes: '', nothing: null }));
});

test('jobs that are no JSON fail alone', async () => {
  const pool = await Pool.ready(GENERAL);
  for (const [id, payload] of [
    [1, '{"a":'],
    [2, ''],
    [3, '"\xff"'],
  ]) {
    const { is, fault } = await pool.do(id, Buffer.from(payload, 'latin1'));
    assert.deepStrictEqual([is, fault], ['Unusable', 0]);
  }
  assert.deepStrictEqual(await pool.do(4, ['echo', 1]), done(4, 1));
});

test('a worker that is no match says so and ends', async () => {
  const cases = [
    [{ codec: 'bincode' }, /reads payloads in json, the pool writes them in bincode/],
    [{ codec: 'cbor' }, /the pool writes them in cbor/],
  ];
  for (const [settings, why] of cases) {
    const pool = new Pool(GENERAL, settings);
    const { is, job: of, message } = await pool.next();
    assert.deepStrictEqual([is, of], ['Terminal', undefined]);
    assert.match(message, why);
    assert.strictEqual((await pool.ended).code, 2);
  }
});

test('what is no pool', async () => {
  const worker = frame(Buffer.from('hireling'), Buffer.of(1, 0, 2, 0), u32(1));
  const tooNew = frame(Buffer.from('hireling'), Buffer.of(7, 0, 9, 0), u32(0));
  const cases = [
    [[worker], /no pool/],
    [[frame(Buffer.from('GET / HTTP/1.1  '))], /no pool/],
    [[tooNew], /speaks no version/],
    [[hello(1, 2), leave()], /no Init/],
    [
      [hello(1, 2), init({ jobType: 'x', codec: 'json', maxFrame: 1024 }), Buffer.from([255, 255, 0, 0])],
      /over the limit/,
    ],
    [[hello(1, 2), init({ jobType: 'x', codec: 'json', maxFrame: 1024 }), frame(u32(77))], /unknown message, 77/],
  ];
  for (const [frames, why] of cases) {
    const pool = new Pool(GENERAL, { greet: false });
    pool.write(...frames);
    const end = await pool.ended;
    assert.strictEqual(end.code, 2, end.stderr);
    assert.match(end.stderr, why);
  }
  const alone = new Pool(GENERAL, { greet: false });
  alone.hangUp();
  const end = await alone.ended;
  assert.deepStrictEqual(
    [end.code, end.stderr],
    [2, 'no pool is there: this program is a worker, which a pool starts\n'],
  );
});

test('Worker: options, state, recovery, ESM', async () => {
  const pool = new Pool('class.mjs', { options: { start: 10 } });
  assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
  assert.deepStrictEqual(await pool.do(1, 5), {
    is: 'Success',
    job: 1,
    ready: false,
    payload: { sum: 15, recovered: 0 },
  });
  assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
  assert.deepStrictEqual(await pool.do(2, 1), {
    is: 'Success',
    job: 2,
    ready: false,
    payload: { sum: 16, recovered: 1 },
  });
  assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
  assert.deepStrictEqual(await pool.do(3, Buffer.from('}')).then(({ is, ready }) => [is, ready]), ['Unusable', false]);
  assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
  assert.strictEqual((await pool.leave()).code, 0);
});

test('a thenable is heard once, whatever its `then` gives', async () => {
  const pool = await Pool.ready('thenable.js');
  for (const given of [false, true]) {
    // The second word of each comes while the job behind it runs.
    pool.write(job(1, ['resolve', 7, given]), job(2, ['sleep']), job(3, ['reject', 8, given]), job(4, ['sleep']));
    for (const [id, is, payload] of [[1, 'Success', 7], [2, 'Success', 'slept'], [3, 'Failure', 8], [4, 'Success', 'slept']]) {
      assert.deepStrictEqual(await pool.nextWord(), { is, job: id, ready: false, payload });
      assert.deepStrictEqual(await pool.next(), { is: 'Ready' });
    }
  }
  assert.strictEqual((await pool.leave()).code, 0);
});

test('a start that fails says why', async () => {
  const pool = new Pool('class.mjs', { options: { start: null } });
  const { is, job: of, message } = await pool.next();
  assert.deepStrictEqual([is, of, message], ['Terminal', undefined, 'Error: there is no start']);
  assert.strictEqual((await pool.ended).code, 1);
});

test('a name that differs', async () => {
  const pool = new Pool('class.mjs', { options: { start: 1 }, jobType: 'other', env: { NAME: 'sum/1' } });
  assert.strictEqual((await pool.next()).message, 'this worker does jobs of the type sum/1, the pool has other');
  assert.strictEqual(pool.hello.subarray(16).toString(), 'sum/1');
});

test('last words of the guard that are longer than a pipe are written to their end', async () => {
  const jobType = 'y'.repeat(1_000_000);
  for (const pipes of [true, false]) {
    const pool = new Pool('class.mjs', { options: { start: 1 }, jobType, env: { NAME: 'sum/1' }, pipes });
    const message = `this worker does jobs of the type sum/1, the pool has ${jobType}`;
    assert.strictEqual((await pool.next()).message, message);
    assert.strictEqual((await pool.ended).code, 2);
  }
});

test('bincode by hand', async () => {
  const pool = await Pool.ready('bytes.js', { codec: 'bincode' });
  const answer = await pool.do(1, Buffer.of(1, 2, 3));
  assert.deepStrictEqual({ ...answer, payload: [...answer.payload] }, done(1, [3, 2, 1]));
  const failure = await pool.do(2, Buffer.of());
  assert.strictEqual(failure.is, 'Failure');
  assert.strictEqual(Number(failure.payload.readBigUInt64LE()), failure.payload.length - 8);
  assert.match(failure.payload.subarray(8).toString(), /^Error: nothing to turn round\n/);
  assert.deepStrictEqual(
    [(await pool.do(3, Buffer.of(9))).message],
    ['with the codec bincode this is to be a Buffer or Uint8Array, not a string'],
  );
});
