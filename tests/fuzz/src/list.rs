//! Names the targets, one a line, each with what it reads behind a tab.

#![forbid(unsafe_code)]

fn main() {
    for target in tests_fuzz::TARGETS {
        println!("{}\t{}", target.name, target.about);
    }
}
