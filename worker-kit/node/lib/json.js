'use strict';
// JSON as the pool's serde_json reads and writes it. Where plain JSON.parse or JSON.stringify would give a wrong value
// (an integer beyond 2^53, NaN, a Map), the value is right here, or it is an error.

// Only a text with one of these needs a second look: what is not finite is written as null, a Map as {}, and an array of
// bytes as an object of its indices, or as Buffer says.
const SUSPECT = /null|\{\}|"0":|"type":"Buffer"/;
const MANY_DIGITS = /[0-9]{16}/;
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/g;
// Stands before the digits of an integer in a string; no string of a user begins so but by intent.
const MARK = `\u0000${process.pid}.${process.hrtime.bigint()}:`;
const MARKED = new RegExp(JSON.stringify(MARK).slice(0, -1).replace(/[\\.]/g, '\\$&') + '(-?[0-9]+)"', 'g');

/** Integers beyond 2^53 are BigInts. */
function parse(text) {
  if (!MANY_DIGITS.test(text)) return JSON.parse(text);
  const marked = text.replace(STRING_OR_NUMBER, (token) => {
    if (!/^-?[0-9]+$/.test(token) || Number.isSafeInteger(Number(token))) return token;
    return JSON.stringify(MARK + token);
  });
  return JSON.parse(marked, (_, value) =>
    typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value,
  );
}

/** BigInts are integers, arrays of bytes are base64, undefined is null. */
function stringify(value) {
  if (value === undefined) return 'null';
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

// `this` is what holds the value, as it is before any toJSON.
function checked(key, value) {
  const raw = this[key];
  if (raw instanceof Uint8Array) return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString('base64');
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
