//! Request rings and byte streams on shared pages, against a hostile other end.

#![no_std]
#![forbid(unsafe_code)]
