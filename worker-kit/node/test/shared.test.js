'use strict';
// The lock that the main thread and the guard share.

const assert = require('assert');
const path = require('path');
const { test } = require('node:test');
const { Worker: Thread } = require('worker_threads');
const { Shared } = require('../lib/shared.js');

const OTHER = `
const { parentPort, workerData } = require('worker_threads');
const { Shared } = require(workerData.file);
const shared = new Shared(workerData.buffer, 1);
parentPort.postMessage(shared.tryLock());
while (!shared.tryLock());
parentPort.postMessage(true);
shared.unlock();
`;

test('the guard waits for a lock that is held, and not for ever', async () => {
  const shared = Shared.create(1);
  shared.lock();
  const workerData = { file: path.join(__dirname, '..', 'lib', 'shared.js'), buffer: shared.buffer };
  const thread = new Thread(OTHER, { eval: true, workerData });
  const heard = [];
  const ended = new Promise((resolve) => thread.on('exit', resolve));
  thread.on('message', (got) => {
    heard.push(got);
    // It has given up once, and tries again; this is longer than one try.
    if (heard.length === 1) setTimeout(() => shared.unlock(), 20);
  });
  await ended;
  assert.deepStrictEqual(heard, [false, true]);
  assert.strictEqual(shared.tryLock(), true);
});
