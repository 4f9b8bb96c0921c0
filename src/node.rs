//! Worker modules in Node, started with the kit of this project.

use hirelings_worker_kit::node;
use std::ffi::OsStr;
use std::process::Command;

/// Gives the kit's source to the process that is started, which takes the variable out of its environment.
const KIT: &str = "HIRELINGS_NODE_KIT";

/// What Node loads before the module: short, since it is in the list of processes.
const PRELOAD: &str = concat!(
    "--import=data:text/javascript,",
    "import{createRequire}from'node:module';import{runInThisContext}from'node:vm';",
    "const{env}=process,kit=env.HIRELINGS_NODE_KIT;",
    "if(kit){delete env.HIRELINGS_NODE_KIT;globalThis[Symbol.for('hirelings.bundle')]=kit+'(require)';",
    "runInThisContext(kit,{filename:'/hirelings-worker/kit.js'})(createRequire('file:///')).preload({HIRELINGS_NODE_KIT:kit})}",
);

/// A worker module in Node as the command of a pool: `node`, with the worker kit loaded before the module.
///
/// The module has no need of any package. `require('hirelings-worker')` is the kit, whose manual is the README of
/// `worker-kit/node`; `require('hirelings')`, and a path that ends so, is what
/// [node-hirelings](https://www.npmjs.com/package/hirelings) gave its worker modules, so that those run unchanged.
/// Payloads are JSON: the pool is to be built with `.codec(Codec::Json)`.
///
/// It takes `node` from the `PATH`, Node 18.18 or later, and is a `Command` like any other: add arguments for the module, an
/// environment, a folder. Another Node, or options of Node: start it as
/// `node --require hirelings-worker/preload worker.js` where the kit is installed from npm.
///
/// ```no_run
/// # use hirelings::{Job, Pool};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Markdown(String);
///
/// impl Job for Markdown {
///     type Output = String;
///     type Progress = ();
///     type Error = String;
/// }
///
/// // worker.js: require('hirelings-worker').serve((text) => render(text));
/// let pool = Pool::<Markdown>::builder(hirelings::node_module("worker.js"));
/// ```
pub fn node_module(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("node");
    command.arg(PRELOAD).arg(path).env(KIT, node::KIT);
    command
}
