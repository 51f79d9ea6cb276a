//! What it does.

use core::{fmt::Write, time::Duration};

use board_support_rt::{self as rt, Boot, Reason, Spawner, timer};
use heapless::String;

use crate::console::{Console, Line};

/// The pause between two lines, in milliseconds, unless the command line says another.
const PERIOD_MS: u64 = 1000;

/// Greets and answers for ever.
pub(crate) async fn main(boot: Boot, _spawner: Spawner) {
    let name = boot.option("name").unwrap_or("an application");
    let greeting = boot.option("greeting").unwrap_or("hello");
    let period_ms = boot.option("period_ms").and_then(|ms| ms.parse().ok()).unwrap_or(PERIOD_MS).max(1);
    log::info!("console application {name}, command line {:?}", boot.command_line());

    let mut console = Console::open();
    if boot.option("tell") == Some("began") {
        say(&mut console, format_args!("began at {} ns", boot.began().as_nanos())).await;
    }
    let mut tick = 0u64;
    let mut next = timer::now();
    loop {
        match timer::with_deadline(next, console.line()).await {
            Ok(line) => answer(&mut console, &line).await,
            Err(timer::Elapsed) => {
                say(&mut console, format_args!("{greeting} from {name}, tick {tick}")).await;
                tick += 1;
                next += Duration::from_millis(period_ms);
            }
        }
    }
}

async fn answer(console: &mut Console, line: &Line) {
    match line.as_str() {
        "quit" => {
            say(console, format_args!("good bye")).await;
            rt::shutdown(Reason::POWEROFF)
        }
        "panic" => panic!("asked for on the console"),
        text => say(console, format_args!("echo: {text}")).await,
    }
}

async fn say(console: &mut Console, text: core::fmt::Arguments<'_>) {
    let mut line: String<512> = String::new();
    // What does not fit is left out.
    let _ = writeln!(line, "{text}");
    console.write(line.as_bytes()).await;
}
