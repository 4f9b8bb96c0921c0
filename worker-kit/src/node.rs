//! The kit for workers in Node, for `hirelings::node_module`: programs that have this crate need no files of it.

/// One file, as a function of what Node gives a module.
macro_rules! kit_file {
    ($name:literal, $path:literal) => {
        concat!("'", $name, "'(require, module, exports, __dirname) {", include_str!($path), "\n},\n")
    };
}

/// The kit's files in `worker-kit/node` as one expression: a function of Node's `require`, which loads `preload.js` where it
/// is called in a program, and the guard where it is called in the guard's thread.
pub const KIT: &str = concat!(
    "(function (require) {",
    "const builtin = require, loaded = {}, files = {\n",
    kit_file!("./lib/shared.js", "../node/lib/shared.js"),
    kit_file!("./lib/group.js", "../node/lib/group.js"),
    kit_file!("./lib/json.js", "../node/lib/json.js"),
    kit_file!("./lib/stdio.js", "../node/lib/stdio.js"),
    kit_file!("./lib/guard.js", "../node/lib/guard.js"),
    kit_file!("./lib/link.js", "../node/lib/link.js"),
    kit_file!("./lib/serve.js", "../node/lib/serve.js"),
    kit_file!("./index.js", "../node/index.js"),
    kit_file!("./hirelings.js", "../node/hirelings.js"),
    kit_file!("./preload.js", "../node/preload.js"),
    "};\n",
    "function load(name) {",
    "const path = files[name] ? name : name.replace('./', './lib/');",
    "if (!files[path]) return builtin(name);",
    "if (!loaded[path]) { loaded[path] = { exports: {} };",
    "files[path](load, loaded[path], loaded[path].exports, '/hirelings-worker'); }",
    "return loaded[path].exports; }\n",
    "return load(require('worker_threads').isMainThread ? './preload.js' : './guard.js');",
    "})",
);

// It goes through the environment, where the longest text is 128 KiB.
const _: () = assert!(KIT.len() < 120_000);
