//! The command line: `cargo xtask SUBCOMMAND`.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use xtask::{bench, build, controller, demo, explain, fuzz, graph, image, lint, run, setup, symbolize, test};

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
        Command::Build(options) => build::subcommand(&options),
        Command::Image(options) => image::image(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Graph(options) => graph::graph(&options),
        Command::Run(options) => run::run(&options),
        Command::Controller(options) => controller::controller(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Test(options) => test::test(&options),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Lint => lint::lint(),
        Command::Fmt => lint::fmt(),
        Command::Symbolize(options) => symbolize::symbolize(&options),
    };
    match result {
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
