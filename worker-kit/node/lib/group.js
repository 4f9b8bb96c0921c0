'use strict';
// The worker's process group: what the handler has started in it ends with the worker.

const { spawn } = require('child_process');

// The pool's process is gone. It has made this process the leader of a group of its own, which is ended as a whole.
function killGroup() {
  process.kill(0, 'SIGKILL');
}

// On another machine no pool kills the group of a worker that exits. This process cannot do it for as long as it is in it: a
// shell in a group of its own waits for the end of its input, which this process holds open until it has ended. Where this
// process leads no group, there is none to kill.
function endGroupAfterwards() {
  const shell = ['-c', 'read -r _; kill -s KILL -- "-$0"', `${process.pid}`];
  try {
    spawn('/bin/sh', shell, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] }).unref();
  } catch {
    // This process may start no other.
  }
}

module.exports = { killGroup, endGroupAfterwards };
