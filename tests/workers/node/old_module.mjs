import hirelings, { Worker } from 'hirelings';

const worker = new Worker();
worker.on('init', () => worker.ready());
worker.on('job', (job) => {
  worker.success({ job, same: hirelings.Worker === Worker });
  worker.ready();
});
