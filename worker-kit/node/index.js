'use strict';
// The worker's side of hirelings in Node. README.md is the manual; docs/protocol.md of the repository is the protocol.

const { serve, Worker, Failed, Panic } = require('./lib/serve.js');

exports.serve = serve;
exports.Worker = Worker;
exports.Failed = Failed;
exports.Panic = Panic;
