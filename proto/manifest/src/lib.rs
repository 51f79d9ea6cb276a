//! The table that says which domains exist and how they are wired, and the archive that carries it.

#![no_std]
#![forbid(unsafe_code)]
