// A worker module as node-hirelings has them, which runs here as it stands.
const hirelings = require('hirelings');

const worker = new hirelings.Worker();

worker.on('init', () => worker.ready());

worker.on('job', (job) => {
  worker.start();
  if (!job.name) {
    worker.failure('a name is needed');
  } else {
    worker.progress(0.5);
    worker.success({ greeting: `${worker.options.greeting}, ${job.name}` });
  }
  worker.ready();
});
