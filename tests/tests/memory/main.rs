//! What the pool and the wire hold in memory, by an allocator that counts.

use hirelings_tests::counting::Counting;

mod held;
mod lengths;
mod shared_failure;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
