//! The command line: `cargo xtask SUBCOMMAND`.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use proto_errors::host as code;
use xtask::coded::OrCode;
use xtask::{
    bench, build, controller, demo, explain, flash, fuzz, graph, image, lint, measure, run, setup, symbolize,
    test,
};

/// Builds, runs and tests Sarsen. Each subcommand sets up what it needs by itself.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the host lacks and fetch the pinned packages
    Setup(setup::Options),
    /// Build the domains, the table and the archive
    Build(build::Options),
    /// Write the disk image
    Image(image::Options),
    /// Write a disk image onto a disk, and read it back
    Flash(flash::Options),
    /// Tell what a machine that starts a disk image measures into its TPM
    Measure(measure::Options),
    /// Tell what an error's code stands for, and what to do
    Explain(explain::Options),
    /// Draw a board's domains, channels and devices
    Graph(graph::Options),
    /// Run the system in QEMU
    Run(run::Options),
    /// Run the small EVE controller alone
    Controller(controller::Options),
    /// Onboard the system in QEMU with a controller and see the sample application run
    Demo(demo::Options),
    /// Run the host's tests and the stories in QEMU
    Test(test::Options),
    /// Feed the decoders with libFuzzer's inputs, for as long as one likes
    Fuzz(fuzz::Options),
    /// Measure start times, memory and sizes
    Bench(bench::Options),
    /// Check formatting and run clippy, for the host and for domains
    Lint,
    /// Format the sources
    Fmt,
    /// Name the functions behind backtrace addresses
    Symbolize(symbolize::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(options) => setup::setup(&options),
        Command::Build(options) => build::subcommand(&options).or_code(code::BUILD),
        Command::Image(options) => image::image(&options).or_code(code::IMAGE),
        Command::Flash(options) => flash::flash(&options).or_code(code::FLASH),
        Command::Measure(options) => measure::measure(&options).or_code(code::IMAGE),
        Command::Explain(options) => explain::explain(&options).or_code(code::NOT_THERE),
        Command::Graph(options) => graph::graph(&options).or_code(code::NOT_THERE),
        Command::Run(options) => run::run(&options).or_code(code::MACHINE),
        Command::Controller(options) => controller::controller(&options).or_code(code::CONTROLLER),
        Command::Demo(options) => demo::demo(&options).or_code(code::DEMO),
        Command::Test(options) => test::test(&options).or_code(code::TESTS),
        Command::Fuzz(options) => fuzz::fuzz(&options).or_code(code::FUZZ),
        Command::Bench(options) => bench::bench(&options).or_code(code::BENCH),
        Command::Lint => lint::lint().or_code(code::LINT),
        Command::Fmt => lint::fmt().or_code(code::LINT),
        Command::Symbolize(options) => symbolize::symbolize(&options).or_code(code::NOT_THERE),
    };
    match result.or_code(code::UNEXPECTED) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
