//! A small EVE controller for development and tests.

#![forbid(unsafe_code)]
