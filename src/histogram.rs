//! How long things took, in bounded memory.

use std::time::Duration;

/// Into how many equal parts each power of two is divided, as a power of two: 32 parts, each at most 1/32 of its lower bound
/// wide, so that its middle is within 1.6 % of any value in it.
const PART_BITS: u32 = 5;
const PARTS: usize = 1 << PART_BITS;
/// Nanoseconds up to `u64::MAX`.
const BUCKETS: usize = (64 - PART_BITS as usize + 1) * PARTS;

/// Counts of durations, log-linear as those of HdrHistogram (<https://hdrhistogram.org>): to count one takes a few
/// nanoseconds, and all take 15 KiB, however many are counted.
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { buckets: vec![0; BUCKETS].into(), count: 0, max: 0 }
    }

    /// Counts a duration, in nanoseconds.
    pub(crate) fn count(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn distribution(&self) -> Distribution {
        let mut found = [Duration::ZERO; 3];
        let mut wanted = [50, 90, 99].map(|percent| (self.count * percent).div_ceil(100)).into_iter().zip(&mut found);
        let mut next = wanted.next();
        let (mut seen, max) = (0, Duration::from_nanos(self.max));
        for (at, &count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            while let Some((_, found)) = next.take_if(|(rank, _)| *rank <= seen) {
                *found = middle(at).min(max);
                next = wanted.next();
            }
        }
        let [p50, p90, p99] = found;
        Distribution { count: self.count, p50, p90, p99, max }
    }
}

/// The part that a value falls into: those below 64 have one each.
fn bucket(nanos: u64) -> usize {
    let exponent = (64 - nanos.leading_zeros()).saturating_sub(PART_BITS + 1);
    exponent as usize * PARTS + (nanos >> exponent) as usize
}

/// The middle of a part.
fn middle(bucket: usize) -> Duration {
    let exponent = (bucket / PARTS).saturating_sub(1);
    let low = ((bucket - exponent * PARTS) as u64) << exponent;
    Duration::from_nanos(low + ((1u64 << exponent) - 1) / 2)
}

/// How a number of durations are distributed. The three in the middle are exact to 2 %.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let Distribution { count, p50, p99, max, .. } = pool.stats().running;
/// println!("half of {count} attempts took at most {p50:?}, all but 1 % at most {p99:?}, the longest {max:?}");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distribution {
    /// How many there are. Where there is none, the others are zero.
    pub count: u64,
    /// Half of them are at most so long.
    pub p50: Duration,
    /// 90 % of them are.
    pub p90: Duration,
    /// 99 % of them are.
    pub p99: Duration,
    /// The longest one, exactly.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_within_2_percent_of_its_parts_middle() {
        let mut value = 1u64;
        while value < u64::MAX / 3 {
            for near in [value - 1, value, value + 1, value + value / 3] {
                let found = middle(bucket(near)).as_nanos() as f64;
                let error = (found - near as f64).abs() / (near as f64).max(1.0);
                assert!(error < 0.02, "{near} is counted as {found}");
            }
            value *= 2;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        assert!((0..1 << 20).map(bucket).is_sorted(), "larger values are in later parts");
    }

    /// Against the sorted values themselves.
    #[test]
    fn quantiles_are_within_2_percent() {
        let mut state = 7u64;
        let mut values: Vec<u64> = (0..10_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1_000 + (1 << (state >> 59)) + (state >> 40)
            })
            .collect();
        let mut histogram = Histogram::new();
        values.iter().for_each(|&nanos| histogram.count(nanos));
        values.sort_unstable();
        let Distribution { count, p50, p90, p99, max } = histogram.distribution();
        assert_eq!((count, max), (10_000, Duration::from_nanos(values[9_999])));
        for (percent, found) in [(50, p50), (90, p90), (99, p99)] {
            let exact = values[100 * percent - 1] as f64;
            let error = (found.as_nanos() as f64 - exact).abs() / exact;
            assert!(error < 0.02, "p{percent} is {found:?}, not {exact} ns");
        }
        assert_eq!(Histogram::new().distribution(), Distribution::default());
    }
}
