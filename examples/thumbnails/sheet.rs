//! The contact sheet: one picture of all the thumbnails.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

const GAP: u32 = 6;
const PAPER: Rgb<u8> = Rgb([24, 24, 28]);
/// About how wide a sheet may be: tiles shrink rather than make it wider.
const WIDTH: u32 = 2400;

/// Square tiles in rows, one a picture. Each is drawn as it comes, so it takes no more memory than the sheet does.
pub(crate) struct Sheet {
    canvas: RgbImage,
    columns: u32,
    tile: u32,
}

impl Sheet {
    pub(crate) fn new(pictures: usize, size: u32) -> Sheet {
        let pictures = u32::try_from(pictures).unwrap_or(u32::MAX);
        let columns = ((f64::from(pictures) * 1.6).sqrt().ceil() as u32).clamp(1, pictures.max(1));
        let tile = (WIDTH / columns).saturating_sub(GAP).clamp(4, size);
        let side = |tiles| tiles * (tile + GAP) + GAP;
        let canvas = RgbImage::from_pixel(side(columns), side(pictures.div_ceil(columns)), PAPER);
        Sheet { canvas, columns, tile }
    }

    /// The upper left corner of a picture's tile.
    fn corner(&self, n: usize) -> (u32, u32) {
        let (column, row) = (n as u32 % self.columns, n as u32 / self.columns);
        (GAP + column * (self.tile + GAP), GAP + row * (self.tile + GAP))
    }

    /// Draws a thumbnail in the middle of its tile.
    pub(crate) fn place(&mut self, n: usize, thumbnail: &RgbImage) {
        let (width, height) = thumbnail.dimensions();
        let scale = (f64::from(self.tile) / f64::from(width.max(height))).min(1.0);
        let scaled = |side: u32| ((f64::from(side) * scale) as u32).max(1);
        let picture = imageops::resize(thumbnail, scaled(width), scaled(height), FilterType::Triangle);
        let (left, top) = self.corner(n);
        let middle = |corner: u32, side: u32| i64::from(corner + (self.tile - side) / 2);
        let (x, y) = (middle(left, picture.width()), middle(top, picture.height()));
        imageops::replace(&mut self.canvas, &picture, x, y);
    }

    /// Draws a cross of that colour where a picture failed.
    pub(crate) fn cross_out(&mut self, n: usize, colour: [u8; 3]) {
        let (left, top) = self.corner(n);
        let (last, stroke) = (self.tile - 1, self.tile.div_ceil(12));
        for (x, y) in (0..self.tile).flat_map(|y| (0..self.tile).map(move |x| (x, y))) {
            let crossed = x.abs_diff(y) < stroke || last.abs_diff(x + y) < stroke;
            let pixel = if crossed { colour } else { colour.map(|part| part / 5) };
            self.canvas.put_pixel(left + x, top + y, Rgb(pixel));
        }
    }

    pub(crate) fn into_picture(self) -> RgbImage {
        self.canvas
    }
}
