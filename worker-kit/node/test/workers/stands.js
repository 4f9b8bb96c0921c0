'use strict';
// Its guard stands still where the file STAND is there when it looks at the clock, since something has arrived: it removes that
// file, and goes on once there is a file GO_ON. A job is a file to be touched.

const fs = require('fs');
const path = require('path');

const { STAND, GO_ON } = process.env;
const guard = path.join(__dirname, '..', '..', 'lib', 'guard.js');

globalThis[Symbol.for('hirelings.bundle')] = `
  const fs = require('fs');
  const { hrtime } = process;
  process.hrtime = () => {
    const now = hrtime();
    if (new Error().stack.includes('arrived') && fs.existsSync(${JSON.stringify(STAND)})) {
      fs.rmSync(${JSON.stringify(STAND)});
      while (!fs.existsSync(${JSON.stringify(GO_ON)}));
    }
    return now;
  };
  require(${JSON.stringify(guard)});
`;

const { serve } = require('../..');

serve((file) => fs.appendFileSync(file, ''));
