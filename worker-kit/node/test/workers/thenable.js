'use strict';
// All that it gives are thenables as they were before there were promises. Each calls back twice, and its `then` gives nothing,
// or, where that is asked for, a promise.

const { Worker, serve } = require('../..');

const twice = (settle, value, given) => ({
  then(resolve, reject) {
    const back = settle === 'reject' ? reject : resolve;
    back(value);
    setTimeout(() => back('again'), 20);
    return given;
  },
});

serve(
  class extends Worker {
    init() {
      return twice('resolve');
    }

    async sleep() {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return 'slept';
    }

    run([settle, value, given]) {
      return settle === 'sleep' ? this.sleep() : twice(settle, value, given && Promise.resolve());
    }

    recover() {
      return twice('resolve', undefined, Promise.resolve());
    }
  },
);
