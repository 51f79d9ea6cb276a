//! The attacker as a service: lies to dom0 on the channel that every service has.

use core::time::Duration;

use board_support_hyp::{EventChannels, Shared, Xen};
use board_support_rt::{Boot, memory, memory::SpecialPage, timer};
use proto_manifest::{
    table::DOM0_CHANNEL,
    wiring::{End, Wiring},
};
use proto_ring::{
    channel::{UP, initialise},
    stream::Writer,
};
use proto_svc::{
    MAX_MESSAGE, Message, encode,
    supervision::{FromService, Level, LogRecord},
};
use proto_xen::{Gaddr, Port};

/// The word of the page that holds the producer of what we write. Source: `proto_ring::channel`.
const PROD: usize = 64 / 4;

/// How long the flood comes with as many events.
const STORM: Duration = Duration::from_secs(5);

/// The page, and how much of it is written.
struct Liar {
    page: SpecialPage,
    port: Port,
    writer: Writer,
}

/// Greets as it should, except where that is the lie, then lies as the service's name says.
pub(crate) async fn run(boot: &Boot) {
    let wiring = stubdoms_service::read_wiring(boot);
    let Some(mut liar) = Liar::new(&wiring) else { return log::error!("no channel to lie on") };
    // Before a fault there is a moment of truth, so that dom0 sees the service come up.
    if wiring.name != "lie-version" {
        liar.message(&FromService::Hello { version: FromService::VERSION });
        timer::sleep(Duration::from_millis(50)).await;
    }
    match wiring.name.as_str() {
        "lie-version" => liar.message(&FromService::Hello { version: 99 }),
        "lie-index" => liar.jump(),
        "lie-length" => liar.bytes(&[0xff, 0xff, 1, 2, 3]),
        "lie-garbage" => liar.frame(&[0xff; 7]),
        "lie-flood" => liar.flood().await,
        "lie-torn" => liar.bytes(&[100, 0, 1, 2, 3]),
        other => log::error!("there is no lie called {other}"),
    }
    loop {
        timer::sleep(Duration::from_millis(20)).await;
        liar.bell();
    }
}

impl Liar {
    fn new(wiring: &Wiring) -> Option<Self> {
        let End::Dom0 { page, port } = wiring.channel(DOM0_CHANNEL)? else { return None };
        let page = memory::special_page(Gaddr(page))?;
        initialise(page.words());
        Some(Self { page, port: Port(port), writer: Writer::new(UP) })
    }

    /// Whether there was room for the bytes.
    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.room() < bytes.len() {
            return false;
        }
        // There is room, so all of them go.
        let _ = self.writer.stage(self.page.words(), bytes);
        true
    }

    fn room(&mut self) -> usize {
        self.writer.room(self.page.words()).unwrap_or(0) as usize
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.write(bytes);
        // The event goes out either way.
        let _ = self.writer.publish(self.page.words());
        self.bell();
    }

    /// A frame of this length, as frames are, if there is room for it.
    fn frame(&mut self, payload: &[u8]) {
        let length = (payload.len() as u16).to_le_bytes();
        if self.room() >= length.len() + payload.len() {
            self.write(&length);
            self.write(payload);
        }
        self.bytes(&[]);
    }

    /// A message as it should be.
    fn message(&mut self, message: &FromService) {
        let mut buffer = [0; MAX_MESSAGE];
        // Those that are sent here are short.
        self.frame(encode(message, &mut buffer).unwrap_or_default());
    }

    /// Logs without end, each line said to be older than the channel. For some seconds it rings all the time
    /// and lets nobody have the CPU; then only its messages are too many.
    async fn flood(&mut self) {
        let text = "this line is one of too many".try_into().unwrap_or_default();
        let line = FromService::Log(LogRecord { level: Level::Info, at_ns: 0, text });
        let storm = timer::now() + STORM;
        loop {
            self.message(&line);
            if timer::now() >= storm {
                timer::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Says that more was written than the page holds.
    fn jump(&self) {
        let word = &self.page.words()[PROD];
        let honest = word.load(core::sync::atomic::Ordering::Relaxed);
        word.store(honest.wrapping_add(100_000), core::sync::atomic::Ordering::Release);
        self.bell();
    }

    fn bell(&self) {
        // It answers nothing that matters here: the port may be closed by now.
        let _ = Xen.send(self.port);
    }
}
