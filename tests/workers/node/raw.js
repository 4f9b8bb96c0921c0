'use strict';
// Gives back what comes, with nothing but the lengths in front and JSON.parse: what `src/bin/kit_speed.rs` compares with.

let held = Buffer.alloc(0);
process.stdin.on('data', (data) => {
  held = held.length === 0 ? data : Buffer.concat([held, data]);
  const answers = [];
  let at = 0;
  while (held.length - at >= 4 && held.length - at >= 4 + held.readUInt32LE(at)) {
    const end = at + 4 + held.readUInt32LE(at);
    const text = Buffer.from(JSON.stringify(JSON.parse(held.toString('utf8', at + 4, end))));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    answers.push(length, text);
    at = end;
  }
  held = held.subarray(at);
  process.stdout.write(Buffer.concat(answers));
});
