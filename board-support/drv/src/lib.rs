//! Device drivers and their register blocks.

#![no_std]
