//! The least that a pool of this design can cost: its threads, its channels and its wakes over raw children, and nothing
//! else. What the pool is above it is the pool's own; what it is above the raw pipe is the design's, on this machine.

use crate::figure::{Bar, Figure};
use crate::measure::{in_turn, percentile};
use crate::raw::{RawChild, RawInput, RawOutput};
use crate::starts::isolated;
use crate::work::{drive, pool, small, small_job};
use crate::{Figures, Measure};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const MICROSECOND: f64 = 1e-6;

/// For how long a bare caller stays awake where it does as the pool's do.
const AWAKE: Duration = Duration::from_micros(300);

/// One job at a time, and a process a job, each against the bare hops.
pub(crate) fn hops(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((5_000, 9), (2_000, 3));
    let bare = Bare::start();
    let pool_of_one = pool(1);
    let median_of = |spans: &[[f64; 5]], span: usize| percentile(spans.iter().map(|all| all[span]).collect(), 50);
    let of_bare = || {
        let times = |awake| -> Vec<_> { (0..count).map(|number| bare.round_trip(&small(number), awake)).collect() };
        let (asleep, awake) = (times(Duration::ZERO), times(AWAKE));
        let spans = std::array::from_fn::<_, 5, _>(|span| median_of(&awake, span));
        [median_of(&asleep, 0), spans[0], spans[1], spans[2], spans[3], spans[4]]
    };
    let of_pool = || {
        let once = |number| {
            let job = small_job(number);
            let started = Instant::now();
            let echoed = pool_of_one.enqueue(job).wait();
            let took = started.elapsed();
            assert_eq!(echoed.expect("an echo").0, small(number));
            took.as_secs_f64() / MICROSECOND
        };
        let took = percentile((0..count).map(once).collect(), 50);
        [took, 0.0, 0.0, 0.0, 0.0, 0.0]
    };
    let ([asleep, awake, spans @ ..], [took, ..]) = in_turn(rounds, of_bare, of_pool);
    drop(bare);

    let (count, rounds) = measure.of((400, 7), (100, 3));
    let pool_of_two = isolated();
    let per_second = |seconds: f64| [count as f64 / seconds];
    let ([bare_rate], [rate]) =
        in_turn(rounds, || per_second(isolate_bare(count)), || per_second(drive(&pool_of_two, count)));

    let mut figures = vec![
        Figure::new("hops", took, "µs")
            .against("asleep", asleep)
            .bar(Bar::AtMost(1.15))
            .note("bare caller asleep, p50"),
        Figure::new("hops_awake", took, "µs")
            .against("awake", awake)
            .bar(Bar::AtMost(2.0))
            .note("bare caller awake, p50"),
        Figure::new("hops_isolate", rate, "jobs/s").against("bare", bare_rate).bar(Bar::AtLeast(0.6)),
    ];
    let notes = ["caller to supervisor", "supervisor, worker, reader", "reader to supervisor", "supervisor to caller"];
    for (number, (span, note)) in (1..).zip(spans.into_iter().zip(notes)) {
        figures.push(Figure::new(format!("hops_{number}"), span, "µs").note(format!("bare: {note}")));
    }
    Ok(figures)
}

/// What a supervisor is told.
enum Told {
    Asked(Vec<u8>, Arc<Answer>),
    Echoed(Vec<u8>, Instant),
    End,
}

#[derive(Default)]
struct Answer {
    settled: Mutex<Option<Settled>>,
    came: Condvar,
}

/// An answer, and when the supervisor had the job, the reader the answer, and the supervisor the answer.
struct Settled {
    echoed: Vec<u8>,
    at: [Instant; 3],
}

/// One worker: a thread for the supervisor, and one for the reader.
struct Bare {
    supervisor: Sender<Told>,
    threads: Option<[JoinHandle<()>; 2]>,
}

impl Bare {
    fn start() -> Self {
        let (supervisor, told) = unbounded();
        let RawChild { input, mut output } = RawChild::start();
        let to_supervisor = supervisor.clone();
        let read = move || {
            while let Some(echoed) = output.receive_if_any() {
                // Nobody listens to it any more once the supervisor was told to end.
                let _ = to_supervisor.send(Told::Echoed(echoed, Instant::now()));
            }
        };
        let threads = [thread::spawn(move || supervise(input, &told)), thread::spawn(read)];
        Bare { supervisor, threads: Some(threads) }
    }

    /// The microseconds of a job: in all, and from each thread to the next. The caller sleeps once it was `awake` for long.
    fn round_trip(&self, message: &[u8], awake: Duration) -> [f64; 5] {
        let answer = Arc::new(Answer::default());
        let started = Instant::now();
        self.supervisor.send(Told::Asked(message.to_vec(), Arc::clone(&answer))).expect("a supervisor listens");
        while answer.settled.lock().is_none() && started.elapsed() < awake {
            thread::yield_now();
        }
        let mut settled = answer.settled.lock();
        let Settled { echoed, at: [asked, read, heard] } = loop {
            match settled.take() {
                Some(settled) => break settled,
                None => answer.came.wait(&mut settled),
            }
        };
        let ended = Instant::now();
        assert_eq!(echoed, message);
        let spans = [(started, ended), (started, asked), (asked, read), (read, heard), (heard, ended)];
        spans.map(|(from, to)| (to - from).as_secs_f64() / MICROSECOND)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.supervisor.send(Told::End);
        for thread in self.threads.take().into_iter().flatten() {
            thread.join().expect("a bare thread does not panic");
        }
    }
}

fn supervise(mut input: RawInput, told: &Receiver<Told>) {
    let mut current = None;
    for told in told {
        match told {
            Told::Asked(message, answer) => {
                let asked = Instant::now();
                input.send(&message);
                current = Some((answer, asked));
            }
            Told::Echoed(echoed, read) => {
                let heard = Instant::now();
                let (answer, asked) = current.take().expect("an answer is to a question");
                *answer.settled.lock() = Some(Settled { echoed, at: [asked, read, heard] });
                answer.came.notify_one();
            }
            Told::End => return,
        }
    }
}

/// What a supervisor of workers with one job each is told.
enum Step {
    Spawned(usize, RawInput),
    Echoed(usize, Vec<u8>),
    Ended,
}

/// The seconds that `count` jobs take with a process each, two at a time: a thread that spawns, one a child that reads and
/// waits, and a supervisor between them.
fn isolate_bare(count: usize) -> f64 {
    let started = Instant::now();
    let (spawner, asked) = unbounded();
    let (supervisor, steps) = unbounded();
    let (caller, answers) = unbounded();
    let spawn = thread::spawn(move || {
        for number in &asked {
            spawn_bare(number, &supervisor);
        }
    });
    let supervise = thread::spawn(move || {
        let mut numbers = 0..count;
        let mut inputs = Vec::new();
        let mut running = 0;
        let mut next = |running: &mut usize| {
            if let Some(number) = numbers.next() {
                *running += 1;
                spawner.send(number).expect("a spawner listens");
            }
        };
        next(&mut running);
        next(&mut running);
        while running > 0 {
            match steps.recv().expect("a child is running") {
                Step::Spawned(number, input) => inputs.push((number, input)),
                Step::Echoed(number, echoed) => {
                    // Its input ends, so it does.
                    inputs.retain(|&(of, _)| of != number);
                    caller.send((number, echoed)).expect("a caller waits");
                }
                Step::Ended => {
                    running -= 1;
                    next(&mut running);
                }
            }
        }
    });
    for _ in 0..count {
        let (number, echoed) = answers.recv().expect("an answer comes");
        assert_eq!(echoed, small(number), "job {number}");
    }
    for thread in [supervise, spawn] {
        thread.join().expect("a bare thread does not panic");
    }
    started.elapsed().as_secs_f64()
}

fn spawn_bare(number: usize, supervisor: &Sender<Step>) {
    let (give, given) = bounded(1);
    let told = supervisor.clone();
    thread::spawn(move || {
        let mut output: RawOutput = given.recv().expect("a child follows");
        let _ = told.send(Step::Echoed(number, output.receive()));
        // Waits for its end.
        drop(output);
        let _ = told.send(Step::Ended);
    });
    let RawChild { mut input, output } = RawChild::start();
    input.send(&small(number));
    let _ = supervisor.send(Step::Spawned(number, input));
    give.send(output).expect("its reader waits");
}
