//! The runtime of every domain: entry, executor, timers, entropy, heap, log, panic.

#![no_std]
