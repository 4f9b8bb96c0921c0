'use strict';
// Numbers that are no 64-bit floats, and what JSON.stringify would quietly change.

const assert = require('assert');
const { test } = require('node:test');
const { parse, stringify } = require('../lib/json.js');

test('integers beyond 2^53 are BigInts, both ways', () => {
  const text =
    '{"a":[18446744073709551615,-9223372036854775808,9007199254740992],"b":1.5,"12345678901234567890":"12345678901234567890 \\" 3"}';
  const value = parse(text);
  assert.deepStrictEqual(value, {
    a: [18446744073709551615n, -9223372036854775808n, 9007199254740992n],
    b: 1.5,
    '12345678901234567890': '12345678901234567890 " 3',
  });
  assert.strictEqual(stringify(value), text);
});

test('what is no integer beyond 2^53 is a number', () => {
  assert.deepStrictEqual(
    parse('[9007199254740991,12345678901234567.0,1e300,0.12345678901234567,-9007199254740991]'),
    [9007199254740991, 12345678901234568, 1e300, 0.12345678901234567, -9007199254740991],
  );
  assert.strictEqual(parse('"1234567890123456789\\\\"'), '1234567890123456789\\');
});

test('many MiB of text beside an integer beyond 2^53, and many MiB of bytes', () => {
  const long = 'A\\"'.repeat(8 << 20);
  const value = parse(`{"a":${JSON.stringify(long)},"n":18446744073709551615}`);
  assert.deepStrictEqual([value.a === long, value.n], [true, 18446744073709551615n]);
  const bytes = Buffer.alloc(32 << 20, 'A');
  assert.strictEqual(stringify([bytes, 18446744073709551615n]), `["${bytes.toString('base64')}",18446744073709551615]`);
  for (const cut of ['{"a":"12345678901234567890', '[12345678901234567890,"\\"', '["\\\\"12345678901234567890]']) {
    assert.throws(() => parse(cut), SyntaxError);
  }
});

test('bytes are base64, at any depth', () => {
  assert.strictEqual(stringify({ a: [Buffer.from('hi'), new Uint8Array(0)] }), '{"a":["aGk=",""]}');
});

test('what looks suspect and is not stays as it is', () => {
  for (const value of [
    null,
    {},
    { 0: 1 },
    'null',
    '{}',
    { type: 'Buffer', data: [1] },
    [null, undefined === null],
    '"0":',
  ]) {
    assert.strictEqual(stringify(value), JSON.stringify(value));
  }
  assert.strictEqual(stringify(undefined), 'null');
  assert.strictEqual(stringify(new Date(0)), '"1970-01-01T00:00:00.000Z"');
});

test('what would be lost is refused', () => {
  for (const value of [
    NaN,
    [Infinity],
    { a: new Map() },
    new Set(),
    () => {},
    [Symbol('x')],
    new Float32Array(1),
    /x/,
    new Date(NaN),
    { e: new Error('x') },
    Promise.resolve(),
  ]) {
    assert.throws(() => stringify(value), TypeError);
  }
});
