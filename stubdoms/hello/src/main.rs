//! The sample application: a small unikernel.
//!
//! It greets on its console once a second, answers each line typed there with `echo: LINE`, and
//! obeys `quit` and `panic`. `name=` and `greeting=` on the command line say who greets, and how;
//! `period_ms=` says how often.

#![no_std]
#![cfg_attr(target_os = "none", no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod app;
#[cfg(target_os = "none")]
mod console;

#[cfg(target_os = "none")]
board_support_rt::domain!(app::main);

#[cfg(not(target_os = "none"))]
fn main() {}
