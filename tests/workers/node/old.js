// A worker module as node-hirelings had them: its own dialect, and its own copy of the package, by a path that is not there.
var util = require('util'),
    hirelings = require(__dirname + '/../../lib/hirelings');

var self = new hirelings.Worker({ greeting: 'hello' });

self.on('init', function (config) {
    util.debug('starting as ' + self.id);
    console.log('this goes nowhere near the pool');
    setTimeout(function () {
        if (config !== self.options) { throw new Error('other options'); }
        self.ready();
    }, 10);
});

self.on('job', function (job) {
    self.start();
    if (job.cause_error) {
        throw "THIS IS AN ERROR";
    } else if (job.cause_failure) {
        self.failure("THIS IS A FAILURE");
    } else if (job.undefined_function) {
        job.no_such_method();
    } else if (job.terminal) {
        self.terminalFailure('THE END');
    } else {
        self.progress(1);
        self.progress(2);
        self.progress(3);
        setTimeout(function () {
            self.success({ options: self.options, job: job });
            setTimeout(function () { self.ready(); }, job.recovery || 0);
        }, job.delay || 0);
        return;
    }
    self.ready();
});
