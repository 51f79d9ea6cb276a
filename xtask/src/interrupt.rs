//! Ctrl-C: the first one asks, the second one insists.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Tells whether Ctrl-C was pressed.
#[derive(Debug, Clone)]
pub struct Interrupt {
    pressed: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts listening. From now on the first Ctrl-C does nothing but set the flag; the second ends the
    /// program at once.
    ///
    /// # Errors
    /// When the system gives no thread or no signal handler.
    pub fn listen() -> Result<Self> {
        let pressed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&pressed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot listen for Ctrl-C")?;
        std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                runtime.block_on(async {
                    while tokio::signal::ctrl_c().await.is_ok() {
                        if flag.swap(true, Ordering::SeqCst) {
                            std::process::exit(130);
                        }
                    }
                });
            })
            .context("cannot listen for Ctrl-C")?;
        Ok(Self { pressed })
    }

    /// Whether Ctrl-C was pressed.
    pub fn pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}
