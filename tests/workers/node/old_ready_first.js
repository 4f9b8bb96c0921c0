// Ready before there are options, and before the answer; a class of its own; what is said twice, or of no job.
var inherits = require('util').inherits;
var Base = require('hirelings').Worker;

function Mine() {
    Base.call(this, {});
}
inherits(Mine, Base);

var worker = new Mine();
worker.progress('of no job');
worker.on('job', function (job) {
    worker.ready();
    process.nextTick(function () {
        worker.success({ job: job });
        worker.success('again');
        worker.ready();
    });
});
worker.ready();
