'use strict';

const { serve } = require('../..');

serve(
  (job) => {
    if (job.length === 0) throw new Error('nothing to turn round');
    return job[0] === 9 ? 'text' : job.reverse();
  },
  { codec: 'bincode' },
);
