//! Workers in Python, which make thumbnails with [Pillow](https://pypi.org/project/pillow/); they need `python3` with
//! Pillow, and the feature `json`.
//!
//! ```text
//! cargo run --features json --example pillow
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Bytes, Codec, Job, Pool};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::process::Command;

#[derive(Serialize, Deserialize)]
struct Shrink {
    png: Bytes,
    /// The most pixels on either side.
    side: u32,
}

#[derive(Serialize, Deserialize)]
struct Thumbnail {
    png: Bytes,
    width: u32,
    height: u32,
}

impl Job for Shrink {
    type Output = Thumbnail;
    type Progress = ();
    type Error = String;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pillow/worker.py"));
    // Where `hirelings_worker.py` is; not needed where it lies beside the worker or is installed.
    let paths = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let kit = [concat!(env!("CARGO_MANIFEST_DIR"), "/worker-kit/python").into()];
    python.env("PYTHONPATH", std::env::join_paths(kit.into_iter().chain(std::env::split_paths(&paths)))?);
    let pool = Pool::<Shrink>::builder(python).codec(Codec::Json).max_processes(2).build()?;
    for (width, height) in [(400, 300), (30, 20), (100, 1000)] {
        let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 99]));
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        let made = pool.enqueue(Shrink { png: png.into_inner().into(), side: 64 }).wait()?;
        let decoded = image::load_from_memory(&made.png.0)?;
        assert_eq!((decoded.width(), decoded.height()), (made.width, made.height));
        println!("{width} × {height} became {} × {}", made.width, made.height);
    }
    Ok(())
}
