//! Threads that stay awake while a program runs, and share its short loops.
//!
//! A decode step is hundreds of loops of a few microseconds; waking a sleeping thread takes longer than one of them, and handing out
//! work through queues about as long. So while a program runs the other threads of the pool watch one place, in which the thread
//! that runs it puts a loop at a time, and take its turns by a counter. In between they look for the pool's other work.

use rayon::prelude::*;
use rayon::{ThreadPool, Yield};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Looks at the place between two looks for the pool's other work.
const LOOKS: u32 = 64;
/// Rounds of such looks without work after which a thread lets others have its core in between.
const EAGER_ROUNDS: u32 = 200;
/// Rounds after which a thread goes to sleep; loops are then handed out by the pool, which wakes it.
const ROUNDS: u32 = 4_000;

thread_local! {
    /// The crew that this thread leads.
    static LED: Cell<*const Crew> = const { Cell::new(std::ptr::null()) };
}

/// What the threads of a run watch.
#[derive(Default)]
struct Crew {
    /// The loop to share, or null.
    shared: AtomicPtr<Turns<'static>>,
    /// Threads that may be looking at the loop.
    busy: AtomicUsize,
    /// Threads that watch.
    awake: AtomicUsize,
    done: AtomicBool,
}

/// A loop whose turns are to be taken.
struct Turns<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    count: usize,
    next: AtomicUsize,
}

impl Turns<'_> {
    fn take(&self) {
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            if turn >= self.count {
                return;
            }
            (self.body)(turn);
        }
    }
}

/// Runs `body` on a thread of `pool`, while the others stay awake.
pub(crate) fn install<R: Send>(pool: &ThreadPool, body: impl FnOnce() -> R + Send) -> R {
    if pool.current_num_threads() == 1 {
        return pool.install(body);
    }
    pool.install(|| {
        let (leader, crew) = (rayon::current_thread_index(), Crew::default());
        rayon::scope(|scope| {
            // The leader may find this among its work, too.
            scope.spawn_broadcast(|_, thread| {
                if Some(thread.index()) != leader {
                    crew.watch()
                }
            });
            let _leading = Leading::begin(&crew);
            body()
        })
    })
}

/// Threads that loops are shared among.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `body` for every number below `count`, in any order, on all threads of the pool.
pub(crate) fn for_each(count: usize, body: impl Fn(usize) + Sync) {
    // SAFETY: a crew outlives its leadership.
    match unsafe { LED.get().as_ref() } {
        _ if count == 1 => body(0),
        Some(crew) if crew.awake.load(Ordering::Relaxed) > 0 => crew.share(count, &body),
        _ => (0..count).into_par_iter().for_each(&body),
    }
}

impl Crew {
    /// Runs a loop with all threads that watch; a loop inside of a loop runs here alone.
    fn share(&self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        if !self.shared.load(Ordering::Relaxed).is_null() {
            return (0..count).for_each(body);
        }
        let turns = Turns { body, count, next: AtomicUsize::new(0) };
        self.shared.store((&raw const turns).cast_mut().cast(), Ordering::SeqCst);
        let _shared = Shared(self);
        turns.take();
    }
    /// Takes turns of loops until the run is done, or there was nothing to do for long.
    fn watch(&self) {
        self.awake.fetch_add(1, Ordering::Relaxed);
        let _awake = Counted(&self.awake);
        let mut idle = 0;
        while !self.done.load(Ordering::Acquire) && idle < ROUNDS {
            let found = (0..LOOKS).any(|_| self.help()) || rayon::yield_now() == Some(Yield::Executed);
            idle = if found { 0 } else { idle + 1 };
            if idle > EAGER_ROUNDS {
                std::thread::yield_now();
            }
        }
    }
    /// Takes turns of the loop, if there is one.
    fn help(&self) -> bool {
        if self.shared.load(Ordering::Relaxed).is_null() {
            std::hint::spin_loop();
            return false;
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        let _busy = Counted(&self.busy);
        // SAFETY: the leader ends the loop only after it took it away and then saw nobody busy; this thread was busy before it
        // found the loop still there.
        match unsafe { self.shared.load(Ordering::SeqCst).as_ref() } {
            Some(turns) => turns.take(),
            None => return false,
        }
        true
    }
}

/// A loop is shared as long as this lives.
struct Shared<'a>(&'a Crew);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.0.shared.store(null_mut(), Ordering::SeqCst);
        while self.0.busy.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
        }
    }
}

/// Counts one less when it ends.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// This thread leads a crew as long as this lives; then the run is done.
struct Leading<'a> {
    crew: &'a Crew,
    before: *const Crew,
}

impl<'a> Leading<'a> {
    fn begin(crew: &'a Crew) -> Self {
        Leading { crew, before: LED.replace(crew) }
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        LED.set(self.before);
        self.crew.done.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;

    fn pool(threads: usize) -> ThreadPool {
        ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_turn_is_taken_once() {
        for threads in [1, 2, 5] {
            install(&pool(threads), || {
                for count in (0..200).chain([10_000]) {
                    let taken: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    for_each(count, |turn| {
                        taken[turn].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(taken.iter().all(|taken| taken.load(Ordering::Relaxed) == 1), "{count} turns, {threads} threads");
                }
            });
        }
    }

    #[test]
    fn loops_nest_and_the_pool_works_beside_them() {
        let sum = AtomicUsize::new(0);
        install(&pool(3), || {
            let add = |number: usize| sum.fetch_add(number, Ordering::Relaxed);
            for_each(10, |i| for_each(10, |j| assert!(add(i * j) < 2500)));
            add((0..1000usize).into_par_iter().map(|i| i % 2).sum());
        });
        assert_eq!(sum.into_inner(), 45 * 45 + 500);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_run_works() {
        let pool = pool(3);
        for turn in [0, 99] {
            let run = || install(&pool, || for_each(100, |i| assert!(i != turn, "turn {i}")));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        }
        assert_eq!(install(&pool, || 7), 7);
    }
}
