'use strict';
// JSON as the pool's serde_json reads and writes it. Where plain JSON.parse or JSON.stringify would give a wrong value
// (an integer beyond 2^53, NaN, a Map), the value is right here, or it is an error.

// Only a text with one of these needs a second look: what is not finite is written as null, a Map as {}, and an array of
// bytes as an object of its indices, or as Buffer says.
const SUSPECT = /null|\{\}|"0":|"type":"Buffer"/;
const MANY_DIGITS = /[0-9]{16}/;
const NUMBER = /-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/g;
// Stands before the digits of an integer in a string; no string of a user begins so but by intent.
const MARK = `\u0000${process.pid}.${process.hrtime.bigint()}:`;
const MARKED = new RegExp(JSON.stringify(MARK).slice(0, -1).replace(/[\\.]/g, '\\$&') + '(-?[0-9]+)"', 'g');

/** Integers beyond 2^53 are BigInts. */
function parse(text) {
  if (!MANY_DIGITS.test(text)) return JSON.parse(text);
  const parts = [];
  for (let at = 0; at < text.length; ) {
    const begin = text.indexOf('"', at);
    const outside = text.slice(at, begin < 0 ? text.length : begin);
    parts.push(MANY_DIGITS.test(outside) ? outside.replace(NUMBER, marked) : outside);
    if (begin < 0) break;
    at = endOfString(text, begin);
    parts.push(text.slice(begin, at));
  }
  return JSON.parse(parts.join(''), (_, value) =>
    typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value,
  );
}

/** An integer that is no number of JavaScript, as a string with its digits. */
function marked(number) {
  const exact = !/^-?[0-9]+$/.test(number) || Number.isSafeInteger(Number(number));
  return exact ? number : JSON.stringify(MARK + number);
}

/** Where a string ends that begins here. Not by a regular expression: one that goes through a string of many MiB overflows
 * its stack. */
function endOfString(text, begin) {
  for (let at = begin + 1; ; at++) {
    at = text.indexOf('"', at);
    if (at < 0) return text.length;
    let escapes = 0;
    while (text[at - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return at + 1;
  }
}

/** BigInts are integers, arrays of bytes are base64, undefined is null. */
function stringify(value) {
  if (value === undefined) return 'null';
  value = withBytes(value);
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    if (!/BigInt/.test(error.message)) throw error;
  }
  if (text !== undefined && !SUSPECT.test(text)) return text;
  text = JSON.stringify(value, checked);
  if (text === undefined) throw new TypeError(`${nameOf(value)} has no JSON`);
  return text.includes('\\u0000') ? text.replace(MARKED, '$1') : text;
}

/** Bytes, and an array or object that holds some, with their base64: Buffer's own toJSON makes a number of each byte first,
 * for which many MiB are too long. Bytes that lie deeper are found by `checked`. */
function withBytes(value) {
  if (isBytes(value)) return base64(value);
  if (value === null || typeof value !== 'object' || typeof value.toJSON === 'function') return value;
  const written = (part) => (isBytes(part) ? base64(part) : part);
  if (Array.isArray(value)) return value.some(isBytes) ? value.map(written) : value;
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value)) || !Object.values(value).some(isBytes)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, written(part)]));
}

const isBytes = (value) => value instanceof Uint8Array;
const base64 = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString('base64');

// `this` is what holds the value, as it is before any toJSON.
function checked(key, value) {
  const raw = this[key];
  if (isBytes(raw)) return base64(raw);
  if (typeof value === 'bigint') return MARK + value;
  const wrong =
    (typeof value === 'number' && !Number.isFinite(value)) ||
    (value === null && raw !== null) ||
    value instanceof Map || value instanceof Set || value instanceof RegExp || value instanceof Error ||
    value instanceof Promise || ArrayBuffer.isView(value) || value instanceof ArrayBuffer ||
    (Array.isArray(this) && (typeof value === 'function' || typeof value === 'symbol'));
  if (wrong) throw new TypeError(`${nameOf(raw)}${key === '' ? '' : ` at ${JSON.stringify(key)}`} has no JSON`);
  return value;
}

function nameOf(value) {
  if (typeof value === 'number') return String(value);
  if (typeof value === 'object' && value !== null) return `a value of the class ${value.constructor?.name ?? 'Object'}`;
  return `a ${typeof value}`;
}

/** Payloads in JSON. */
const json = {
  decode(bytes) {
    const text = bytes.toString();
    if (text.includes('\ufffd') && !Buffer.from(text).equals(bytes)) throw new SyntaxError('it is not UTF-8');
    return parse(text);
  },
  encode: stringify,
  ofText: stringify,
};

/** Payloads in bincode, which are the handler's own matter: bytes in, bytes out. */
const bincode = {
  decode: (bytes) => Buffer.from(bytes),
  encode(value) {
    if (value instanceof Uint8Array) return value;
    throw new TypeError(`with the codec bincode this is to be a Buffer or Uint8Array, not ${nameOf(value)}`);
  },
  ofText(value) {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    return Buffer.concat([length, bytes]);
  },
};

module.exports = { codecs: { json, bincode }, parse, stringify };
