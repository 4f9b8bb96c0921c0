//! The sample pictures: a few hundred to look at, drawn by code, and every trouble that a folder of pictures can hold.

use crate::{Failures, Kind, MEMORY};
use image::codecs::gif::GifEncoder;
use image::{ExtendedColorType, Rgb, RgbImage};
use rustix::process::{Signal, getppid, kill_process};
use std::error::Error;
use std::f32::consts::TAU;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

type Made = Result<(), Box<dyn Error>>;

/// A name, how the file is made, and what it must come to.
type Trouble = (&'static str, fn(&Path) -> Made, Kind);

/// The last five are those of a decoder that was taken over. Without a confinement they would succeed.
const TROUBLES: [Trouble; 14] = [
    ("truncated.png", keep_half, Kind::Unreadable),
    ("truncated.gif", keep_half, Kind::Unreadable),
    ("corrupt.png", overwrite, Kind::Unreadable),
    ("corrupt.webp", overwrite, Kind::Unreadable),
    ("empty.bmp", |file| Ok(fs::write(file, "")?), Kind::Unreadable),
    ("bomb.png", bomb, Kind::OutOfMemory),
    ("pipe.png", pipe, Kind::TooSlow),
    ("aborts.jpg", |file| draw_into(file, 0), Kind::Crashed),
    ("panics.bmp", |file| draw_into(file, 1), Kind::Crashed),
    ("reads.png", |file| draw_into(file, 4), Kind::Unreadable),
    ("writes.png", |file| draw_into(file, 5), Kind::Unreadable),
    ("connects.jpg", |file| draw_into(file, 6), Kind::Forbidden),
    ("forks.gif", |file| draw_into(file, 7), Kind::Forbidden),
    ("kills.bmp", |file| draw_into(file, 8), Kind::Forbidden),
];

/// The troubles, of those that need a confinement only where there is one.
pub(crate) fn troubles(confined: bool) -> &'static [Trouble] {
    if confined { &TROUBLES } else { &TROUBLES[..9] }
}

/// Makes `good` pictures and, spread among them, the troubles, which go into `expected` too. Gives all the files.
pub(crate) fn make(
    folder: &Path,
    good: usize,
    troubles: &[Trouble],
    expected: &mut Failures,
    made: impl Fn(),
) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut files = Vec::new();
    let mut add = |name: &str, make: &dyn Fn(&Path) -> Made| {
        let file = folder.join(format!("{:03}-{name}", files.len()));
        make(&file).map_err(|error| format!("cannot make {}: {error}", file.display()))?;
        files.push(file.clone());
        made();
        Ok::<_, String>(file)
    };
    // The folder is made of stretches of good pictures, each with a trouble in its middle.
    let every = good.div_ceil(troubles.len());
    for n in 0..troubles.len() * every {
        if n < good {
            let (style, format) = (STYLES[n % STYLES.len()].0, ["png", "jpg", "webp", "gif", "bmp"][n % 5]);
            add(&format!("{style}.{format}"), &|file| draw_into(file, n))?;
        }
        if n % every == every / 2 {
            let (name, make, kind) = troubles[n / every];
            expected.insert(add(name, &make)?, kind);
        }
    }
    Ok(files)
}

/// What the worker does with a sample first. Some of them stand in for bugs in a decoder, which cannot be had to order, and
/// for what somebody does who has found one: the pictures are good, and it is this function that crashes, or tries what it
/// must not, at their names.
pub(crate) fn stand_in_for_a_bug(file: &Path) -> Result<(), String> {
    let (_, name) = file.file_name().and_then(OsStr::to_str).and_then(|name| name.split_once('-')).unwrap_or_default();
    let refused = |what: &str, error: io::Error| format!("the decoder tried to {what}: {error}");
    match name {
        "aborts.jpg" => {
            let _ = writeln!(io::stderr(), "free(): invalid pointer (stands in for a bug in a decoder)");
            process::abort();
        }
        "panics.bmp" => panic!("index out of bounds (stands in for a bug in a decoder)"),
        "reads.png" => fs::read("/etc/passwd").map(drop).map_err(|error| refused("read /etc/passwd", error)),
        "writes.png" => {
            let beside = file.with_file_name("written-by-a-decoder");
            fs::write(beside, "").map_err(|error| refused("write beside the pictures", error))
        }
        // These end the process.
        "connects.jpg" => TcpStream::connect("127.0.0.1:9").map(drop).map_err(|error| refused("connect", error)),
        "forks.gif" => Command::new("true").status().map(drop).map_err(|error| refused("fork", error)),
        "kills.bmp" => {
            let killed = getppid().map_or(Ok(()), |pool| kill_process(pool, Signal::KILL));
            killed.map_err(|error| refused("kill the pool", error.into()))
        }
        _ => Ok(()),
    }
}

/// Only the first half of a picture's file.
fn keep_half(file: &Path) -> Made {
    draw_into(file, 3)?;
    let bytes = fs::read(file)?;
    Ok(fs::write(file, &bytes[..bytes.len() / 2])?)
}

/// Noise in the middle of a picture's file.
fn overwrite(file: &Path) -> Made {
    draw_into(file, 2)?;
    let mut bytes = fs::read(file)?;
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(512).for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5a);
    Ok(fs::write(file, bytes)?)
}

/// A decompression bomb: a valid file of less than half a megabyte, with a bit a pixel, which is decoded to a byte a
/// pixel. That is more than a worker may have.
fn bomb(file: &Path) -> Made {
    let side = (((MEMORY << 20) as f64 * 1.1).sqrt() as u32).next_multiple_of(8);
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(file)?), side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_compression(png::Compression::Fast);
    let mut header = encoder.write_header()?;
    let mut rows = header.stream_writer()?;
    let row = vec![0; side as usize / 8];
    for _ in 0..side {
        rows.write_all(&row)?;
    }
    Ok(rows.finish()?)
}

/// A named pipe: whoever opens it to read waits until somebody writes. An earlier run's is as good.
fn pipe(file: &Path) -> Made {
    if file.try_exists()? {
        return Ok(());
    }
    let status = Command::new("mkfifo").arg(file).status().map_err(|error| format!("mkfifo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("mkfifo: {status}").into()) }
}

fn draw_into(file: &Path, n: usize) -> Made {
    let picture = draw(n);
    if file.extension() == Some(OsStr::new("gif")) {
        // Unless told otherwise it takes a second to find the best palette.
        let mut encoder = GifEncoder::new_with_speed(BufWriter::new(File::create(file)?), 30);
        Ok(encoder.encode(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)?)
    } else {
        Ok(picture.save(file)?)
    }
}

// ------------------------------------------------------------ what is drawn

/// A picture's four random numbers.
type Dice = [f32; 4];

/// What is at a place, as a position in the palette. Places go from -1 to 1 along the shorter side.
type Style = fn(f32, f32, Dice) -> f32;

const STYLES: [(&str, Style); 8] = [
    ("gradient", |x, y, [a, b, ..]| 0.4 * ((a * TAU).cos() * x + (a * TAU).sin() * y) + b * x * y),
    ("mandelbrot", |x, y, [a, b, c, _]| {
        let (cx, cy, zoom) = if a < 0.5 { (-0.7436, 0.1318, 0.02) } else { (-0.16, 1.0405, 0.05) };
        escape(0.0, 0.0, cx + x * zoom * (0.3 + b), cy + y * zoom * (0.3 + c))
    }),
    ("rings", |x, y, [a, b, c, d]| 0.2 * ((18.0 * (x - a).hypot(y - b)).sin() + (25.0 * (x + c).hypot(y + d)).sin())),
    ("plasma", |x, y, [a, b, c, d]| {
        let (u, v) = (x + 0.4 * (5.0 * y + a * TAU).sin(), y + 0.4 * (4.0 * x + b * TAU).sin());
        0.25 * ((3.0 * u + c * TAU).sin() + (4.0 * v).sin() + (5.0 * (u + v) + d * TAU).sin())
    }),
    ("julia", |x, y, [a, b, ..]| {
        let angle = 1.6 + 2.2 * a;
        escape(1.3 * x, 1.3 * y, (0.74 + 0.05 * b) * angle.cos(), (0.74 + 0.05 * b) * angle.sin())
    }),
    ("cells", |x, y, [a, b, ..]| {
        let seed = (a * 1e6) as u32;
        let point = |k: u32| (3.0 * chance(seed, 2 * k) - 1.5, 3.0 * chance(seed, 2 * k + 1) - 1.5);
        let far = (0..24).map(|k| (x - point(k).0).hypot(y - point(k).1)).fold(f32::MAX, f32::min);
        (1.5 + b) * far
    }),
    ("flower", |x, y, [a, b, c, _]| {
        let (angle, far) = (y.atan2(x), x.hypot(y));
        0.3 * ((3.0 + 6.0 * a).round() * angle + 5.0 * b * far).sin() + far * (0.5 + c)
    }),
    ("hills", |x, y, [a, b, c, _]| {
        let ridge =
            |k: f32| 0.35 * k - 0.5 + 0.2 * ((2.0 + k) * x + a * TAU * k).sin() + 0.05 * ((9.0 + b) * x + k).sin();
        let hills = (0..5).filter(|&k| y > ridge(k as f32)).count() as f32;
        if hills == 0.0 && (x - c).hypot(y + 0.7) < 0.2 { 0.5 } else { 0.16 * hills + 0.1 * y }
    }),
];

/// How soon z² + c leaves a circle, smoothly: the Mandelbrot and Julia sets.
fn escape(mut x: f32, mut y: f32, cx: f32, cy: f32) -> f32 {
    for n in 0..120u8 {
        (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
        let square = x * x + y * y;
        if square > 64.0 {
            return 0.04 * (f32::from(n) - (square.ln() / 4.0).log2());
        }
    }
    0.0
}

/// The picture of that number.
fn draw(n: usize) -> RgbImage {
    let chance = |k| chance(n as u32, k);
    let dice = [0, 1, 2, 3].map(chance);
    let spread = 0.06 + 0.22 * chance(4);
    let hues = [0.0, 1.0, 2.0].map(|part| chance(5) + spread * part);
    let (width, height) = (120 + (chance(6) * 400.0) as u32, 120 + (chance(7) * 400.0) as u32);
    let style = STYLES[n % STYLES.len()].1;
    let unit = width.min(height) as f32 / 2.0;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = ((x as f32 - width as f32 / 2.0) / unit, (y as f32 - height as f32 / 2.0) / unit);
        let place = style(x, y, dice);
        Rgb(hues.map(|hue| (134.0 + 120.0 * (TAU * (place + hue)).sin()) as u8))
    })
}

/// A number from 0 to 1, always the same for the same two.
fn chance(seed: u32, k: u32) -> f32 {
    let mut bits = seed.wrapping_mul(0x9e37_79b9) ^ k.wrapping_mul(0x85eb_ca6b);
    for _ in 0..2 {
        bits = (bits ^ (bits >> 16)).wrapping_mul(0x7feb_352d);
        bits = (bits ^ (bits >> 15)).wrapping_mul(0x846c_a68b);
    }
    (bits >> 8) as f32 / (1 << 24) as f32
}
