//! The runtime of every domain.

area! {
    rt: "A domain ends by a mistake of ours. Its last words and a backtrace are on the console.";
    PANIC = "E-RT-001",
        cause: "A domain found one of its own invariants broken, or had no memory left, and ended itself.",
        next: "Report the line and the backtrace; `cargo xtask symbolize` names the functions.";
    FAULT = "E-RT-002",
        cause: "A domain did what its processor refuses, and ended.",
        next: "Report the line and the backtrace; `cargo xtask symbolize` names the functions.";
}
