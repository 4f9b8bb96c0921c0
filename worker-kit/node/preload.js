'use strict';
// Loaded before a worker module, as by `node --require hirelings-worker/preload worker.js` and by hirelings::node_module:
// takes the protocol's descriptors away before any code of the module runs, and gives the kit to a module that asks for
// node-hirelings.

const fs = require('fs');
const Module = require('module');
const path = require('path');
const util = require('util');
const { isMainThread } = require('worker_threads');
// Before any other code asks for a module by these names.
const nodeHirelings = require('./hirelings.js');
const workerKit = require('./index.js');
const { kept, takeDescriptors } = require('./lib/stdio.js');

// By any path: `hirelings`, `../lib/hirelings`, `/srv/node_modules/hirelings/lib/hirelings.js`.
const NODE_HIRELINGS = /^(?:\.{0,2}\/(?:.*\/)?)?(?:node-)?hirelings(?:\/lib\/hirelings)?(?:\.js)?$/;
const KIT = 'hirelings-worker';
const EXPORTS = Symbol.for('hirelings.exports');

/** What a module gets in place of the package that it asks for, if anything. */
function provided(request) {
  if (request === KIT) return workerKit;
  return request === `${KIT}/hirelings` || NODE_HIRELINGS.test(request) ? nodeHirelings : undefined;
}

function provideToRequire() {
  const load = Module._load;
  Module._load = function (request, parent, isMain) {
    return (!isMain && provided(request)) || load.apply(this, arguments);
  };
}

/** `import` asks elsewhere, and only a program that is a module does so. */
function provideToImport() {
  if (!isModule(process.argv[1]) || !Module.register) return;
  globalThis[EXPORTS] = provided;
  const source = (request, names) =>
    `const kit = globalThis[Symbol.for('hirelings.exports')](${JSON.stringify(request)});` +
    `export default kit; export const { ${names} } = kit;`;
  const asUrl = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
  const url = (request) => asUrl(source(request, Object.keys(provided(request))));
  const hook =
    `const old = ${NODE_HIRELINGS}; const urls = ${JSON.stringify({ [KIT]: url(KIT), hirelings: url('hirelings') })};` +
    `export const resolve = (request, context, next) => {` +
    `  const isOld = old.test(request) || request === '${KIT}/hirelings';` +
    `  const url = context.parentURL && (urls[request] ?? (isOld && urls.hirelings));` +
    `  return url ? { url, shortCircuit: true } : next(request, context);` +
    `};`;
  Module.register(asUrl(hook));
}

function isModule(file) {
  if (file === undefined || !/\.js$/.test(file)) return /\.mjs$/.test(file ?? '');
  for (let folder = path.dirname(path.resolve(file)); ; folder = path.dirname(folder)) {
    try {
      const { type } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
      return type === undefined ? readsAsModule(file) : type === 'module';
    } catch (error) {
      if (folder === path.dirname(folder)) return readsAsModule(file);
    }
  }
}

/** Where no package.json says what it is, newer versions of Node look at the statements of a file, and so does this. */
function readsAsModule(file) {
  try {
    return /^\s*(?:import\b(?!\s*\()|export\b)/m.test(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    return false;
  }
}

/** What util had when node-hirelings was written. */
function provideOldUtil() {
  const error = (...words) => void fs.writeSync(2, `${words.join(' ')}\n`);
  const old = {
    debug: (word) => error(`DEBUG: ${word}`),
    error,
    puts: (...lines) => void process.stdout.write(lines.map((line) => `${line}\n`).join('')),
    print: (...words) => void process.stdout.write(words.join('')),
    log: (word) => void process.stdout.write(`${new Date().toUTCString()} - ${word}\n`),
  };
  for (const [name, act] of Object.entries(old)) if (util[name] === undefined) util[name] = act;
}

/** `environment` is what the program would need if it had to be started once more. */
function preload(environment) {
  Object.assign(kept, environment);
  // Null where no pool is there; then `serve` or `new Worker()` says so.
  takeDescriptors();
  provideToRequire();
  provideToImport();
  provideOldUtil();
  nodeHirelings.connectProcess();
}

// What the module forks inherits --require too, and is no worker: it is a child of one.
const LOADED_BY = 'HIRELINGS_NODE_LOADED_BY';
// hirelings::node_module does it itself.
const bundled = globalThis[Symbol.for('hirelings.bundle')] !== undefined;
if (isMainThread && !bundled && process.env[LOADED_BY] !== String(process.ppid)) {
  preload();
  process.env[LOADED_BY] = String(process.pid);
}

module.exports = { preload };
