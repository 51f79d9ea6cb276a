//! Stories side by side: each in a process of its own, its output shown in one piece when it has ended.
//!
//! A machine in QEMU has one or two virtual CPUs and waits for much of its life, so the host takes as many stories at
//! once as it has CPUs, and beside them one of those that do little else than wait; `SARSEN_LANES` sets another number,
//! and with 1 nothing is told beside another. What all share is built before the first begins.

use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{Story, stage};

/// The word by which this program is told to tell one story, of what was built before.
pub(crate) const ONE: &str = "--one";

/// How many stories are told at once.
pub(crate) fn lanes() -> Result<usize> {
    match std::env::var("SARSEN_LANES") {
        Ok(number) => match number.parse() {
            Ok(number @ 1..) => Ok(number),
            _ => bail!("SARSEN_LANES is `{number}`, and should be a number from 1 on"),
        },
        Err(_) => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Tells the stories, so many at once, and says how many failed.
pub(crate) fn tell(busy: &[&Story], waiting: &[&Story], lanes: usize) -> usize {
    let (queue, beside) = (Mutex::new(busy.iter()), Mutex::new(waiting.iter()));
    let next = |waits: bool| {
        let busy = if waits { None } else { lock(&queue).next() };
        busy.or_else(|| lock(&beside).next())
    };
    // Whoever has this has the terminal.
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for lane in 0..lanes + usize::from(lanes > 1) {
            let (next, failed) = (&next, &failed);
            scope.spawn(move || {
                loop {
                    let Some(story) = next(lane == lanes) else { return };
                    println!("...  {}: {}", story.name, story.about);
                    let started = Instant::now();
                    let told = apart(story);
                    let mut failed = lock(failed);
                    let seconds = started.elapsed().as_secs_f64();
                    match told {
                        Ok(Told { output, status }) => {
                            print!("{output}");
                            // One that was ended, or has panicked, says nothing of it itself.
                            if !status.success() && !output.lines().any(|line| line.starts_with("FAIL")) {
                                println!("FAIL {} ({seconds:.1} s): {status}", story.name);
                            }
                            *failed += usize::from(!status.success());
                        }
                        Err(error) => {
                            println!("FAIL {} ({seconds:.1} s): {error:#}", story.name);
                            *failed += 1;
                        }
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a story in a process of its own has ended.
struct Told {
    output: String,
    status: ExitStatus,
}

/// Tells one story in a process of its own.
fn apart(story: &Story) -> Result<Told> {
    let path = stage::folder(story.name)?.join("story.log");
    let unwritable = || format!("cannot write {}", path.display());
    let log = File::create(&path).with_context(unwritable)?;
    let errors = log.try_clone().with_context(unwritable)?;
    // Also when cargo has put another one in its place meanwhile.
    let status = Command::new("/proc/self/exe")
        .args([ONE, story.name])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .status()
        .context("cannot start this program once more")?;
    let output = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Told { output: String::from_utf8_lossy(&output).into_owned(), status })
}
