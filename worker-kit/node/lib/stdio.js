'use strict';
// Takes the protocol's descriptors away from user code: what it prints, and what its child processes print, goes to
// standard error, and nothing but the kit reads the pool's messages.
//
// Node has no dup2. Where the system opens /proc/self/fd/0 anew (pipes, which is what a pool gives), private descriptors
// are opened that way, closed on exec, and 0 and 1 are closed and opened again, since the lowest free number is given
// out. Where it does not (sockets, as ssh gives; standard error in a file, whose position a new description would not
// share), the program is started once more with copies made by the system.

const fs = require('fs');
const { spawnSync } = require('child_process');
const { endGroupAfterwards } = require('./group.js');

// The descriptors that a program started once more was given.
const GIVEN = 'HIRELINGS_NODE_DESCRIPTORS';
const FOLDER = process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd';
const { O_RDONLY, O_WRONLY, O_APPEND, O_NONBLOCK } = fs.constants;

let taken;

// Variables of the environment that were taken out of it, for a program that is started once more.
const kept = {};

/**
 * The private descriptors, and what was read from the input already, `{ input, output, first }`. The same again when called
 * again; null where no pool can be there.
 */
function takeDescriptors() {
  if (taken === undefined) taken = given();
  if (taken === undefined) taken = isPipeline() ? openedAnew() : null;
  if (taken === undefined) startOnceMore();
  return taken;
}

function isPipeline() {
  try {
    return [0, 1].every((fd) => fs.fstatSync(fd).isFIFO() || fs.fstatSync(fd).isSocket());
  } catch {
    return false;
  }
}

function given() {
  const numbers = process.env[GIVEN];
  delete process.env[GIVEN];
  if (numbers === undefined) return undefined;
  const [input, output] = numbers.split(',').map(Number);
  keepFromBlocking(output);
  return { input, output, first: Buffer.alloc(0) };
}

/** A write that waits for the pool to read would keep the guard from all else. Node has no fcntl: a Socket sets O_NONBLOCK, and
 * does nothing else here. */
function keepFromBlocking(fd) {
  const { Socket } = require('net');
  new Socket({ fd, readable: false, writable: true }).unref();
}

function openedAnew() {
  const opened = [];
  const open = (fd, flags) => {
    opened.push(fs.openSync(`${FOLDER}/${fd}`, flags));
    return opened[opened.length - 1];
  };
  const [input, output, errors] = [0, 1, 2].map((fd) => fs.fstatSync(fd));
  if (!input.isFIFO() || !output.isFIFO() || errors.isFile() || errors.isSocket()) return undefined;
  try {
    // O_NONBLOCK, since to open a pipe whose other end is closed waits for ever otherwise.
    const [reads, writes] = [open(0, O_RDONLY | O_NONBLOCK), open(1, O_WRONLY | O_NONBLOCK)];
    const first = readAtOnce(reads);
    if (first === null) return null;
    const heard = isRead(2);
    replace(0, '/dev/null', O_RDONLY);
    if (heard) replace(1, `${FOLDER}/2`, O_WRONLY | O_APPEND);
    else replace(1, '/dev/null', O_WRONLY);
    return { input: reads, output: writes, first };
  } catch (error) {
    if (error instanceof Misplaced) throw error;
    opened.forEach((fd) => fs.closeSync(fd));
    // Nobody reads what a worker would say.
    return error.code === 'ENXIO' ? null : undefined;
  }
}

/** What is there already; null where nobody can write, which nothing else tells of a named pipe that is opened late. */
function readAtOnce(fd) {
  const data = Buffer.alloc(64 * 1024);
  try {
    const length = fs.readSync(fd, data, 0, data.length);
    return length === 0 ? null : data.subarray(0, length);
  } catch (error) {
    if (error.code === 'EAGAIN') return data.subarray(0, 0);
    throw error;
  }
}

/** Whether a pipe has somebody at its other end; true of all that is no pipe. */
function isRead(fd) {
  try {
    fs.closeSync(fs.openSync(`${FOLDER}/${fd}`, O_WRONLY | O_NONBLOCK));
    return true;
  } catch (error) {
    if (error.code === 'ENXIO') return false;
    throw error;
  }
}

class Misplaced extends Error {}

function replace(fd, path, flags) {
  fs.closeSync(fd);
  const opened = fs.openSync(path, flags);
  if (opened !== fd) throw new Misplaced(`descriptor ${fd} was taken by another thread meanwhile`);
}

/** Does not return. */
function startOnceMore() {
  const args = [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, ...kept, [GIVEN]: '3,4' };
  if (process.execve) {
    // In this process's place; node marks 3 and 4 as closed on exec when it starts.
    const shell = 'exec 3<&0 4>&1 </dev/null >&2; exec "$0" "$@"';
    process.execve('/bin/sh', ['sh', '-c', shell, process.execPath, ...args], env);
  }
  const { status, signal, error } = spawnSync(process.execPath, args, { stdio: ['ignore', 2, 2, 0, 1], env });
  if (error) throw error;
  // It leads the group, and the worker does not.
  endGroupAfterwards();
  if (signal) process.kill(process.pid, signal);
  process.exit(status ?? 1);
}

module.exports = { takeDescriptors, kept };
