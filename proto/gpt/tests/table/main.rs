//! The table on a disk that another implementation made.

mod damage;
mod disk;
mod other_implementation;
