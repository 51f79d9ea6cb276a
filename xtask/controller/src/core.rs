//! The state behind its lock, with the ways out: journals, the page's live stream, waiting tests.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::sync::broadcast;

use crate::config_file::ConfigFile;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::observed::Observed;
use crate::options::Options;
use crate::state::{Record, State};

/// Records that a slow page may lag behind before it has to load anew.
const LIVE_RECORDS: usize = 1024;

/// What all tasks of a controller share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) faults: Faults,
    state: Mutex<State>,
    changed: Condvar,
    journal: Mutex<Journal>,
    config: Mutex<ConfigFile>,
    live: broadcast::Sender<Record>,
    /// Held as long as the folder is in use.
    _lock: File,
}

impl Core {
    pub(crate) fn open(options: Options) -> Result<Self> {
        let folder_lock = lock_folder(&options.state)?;
        let state = State::open(&options)?;
        let journal =
            Journal::open(options.state.join("journal"), options.on_event.clone(), options.on_log.clone())?;
        let config = ConfigFile::open(options.state.join("config.toml"), options.content_folder())?;
        Ok(Self {
            options,
            faults: Faults::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            journal: Mutex::new(journal),
            config: Mutex::new(config),
            live: broadcast::channel(LIVE_RECORDS).0,
            _lock: folder_lock,
        })
    }

    /// Works on the state, then lets out what there is to tell.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.state);
        let result = work(&mut state);
        let records = std::mem::take(&mut state.records);
        // Taken before the state is released, so that journals have the order of events.
        let mut journal = lock(&self.journal);
        drop(state);
        self.changed.notify_all();
        for record in records {
            journal.write(&record);
            // Nobody may be listening.
            let _ = self.live.send(record);
        }
        result
    }

    /// Looks at what was observed, without changing it.
    pub(crate) fn observe<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Waits until `test` finds what it looks for; `None` at the deadline.
    pub(crate) fn wait<T>(
        &self,
        deadline: Instant,
        mut test: impl FnMut(&Observed) -> Option<T>,
    ) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = test(&state.observed) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that happens from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Record> {
        self.live.subscribe()
    }

    /// Reads the configuration if it changed.
    pub(crate) fn look_at_config(&self) -> Result<()> {
        self.read_config(&mut lock(&self.config))
    }

    /// Replaces the configuration file and reads it at once.
    pub(crate) fn replace_config(&self, text: &str) -> Result<()> {
        let mut config = lock(&self.config);
        config.replace(text)?;
        self.read_config(&mut config)
    }

    fn read_config(&self, config: &mut ConfigFile) -> Result<()> {
        let Some(reading) = config.look() else { return Ok(()) };
        let asked = reading.as_ref().ok().map(|desired| desired.faults.as_slice());
        let changed = asked.is_some_and(|asked| self.faults.follow(asked));
        let count = asked.map_or(0, <[_]>::len);
        self.with(|state| {
            if changed {
                state.event(format!("controller: the file asks for {count} faults"));
            }
            state.take_config(reading)
        })
    }

    pub(crate) fn config_path(&self) -> std::path::PathBuf {
        lock(&self.config).path().to_owned()
    }
}

/// Two controllers in one folder would overwrite each other's devices.
fn lock_folder(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{} is in use by another controller", folder.display()),
        Err(TryLockError::Error(fault)) => {
            Err(fault).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// A task that panicked leaves the state usable: nothing in it spans two changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
