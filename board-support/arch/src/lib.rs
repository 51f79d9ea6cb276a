//! Architecture start-up: entry, page tables, interrupts, clock, idle.

#![no_std]
