//! `cargo test` compiles the programs in these pages. `docs/protocol.md` has bytes instead, which a test of its own reads.

macro_rules! compiled {
    ($($page:ident: $file:literal,)*) => {
        $(#[doc = include_str!(concat!("../../", $file))] pub struct $page;)*
    };
}

compiled! {
    Readme: "README.md",
    KitReadme: "worker-kit/README.md",
    NodeKitReadme: "worker-kit/node/README.md",
    PythonKitReadme: "worker-kit/python/README.md",
    ConfineReadme: "worker-kit/confine/README.md",
    ObserveReadme: "observe/README.md",
    Contributing: "CONTRIBUTING.md",
    Changelog: "CHANGELOG.md",
    Architecture: "docs/architecture.md",
    Shutdown: "docs/shutdown.md",
    Scale: "docs/scale.md",
    OtherMachines: "docs/other-machines.md",
    Sizing: "docs/sizing.md",
    FailureCases: "docs/failure-cases.md",
    FromNodeHirelings: "docs/from-node-hirelings.md",
    FromProcessPoolExecutor: "docs/from-process-pool-executor.md",
    FromProcspawn: "docs/from-procspawn.md",
    HostileInput: "docs/hostile-input.md",
    Observing: "docs/observing.md",
    Performance: "docs/performance.md",
    Starting: "docs/starting.md",
    Testing: "docs/testing.md",
    Peers: "benches/peers/README.md",
}
