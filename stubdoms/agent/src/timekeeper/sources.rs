//! What became of the questions to each time server, for reports.

use alloc::{string::String, vec::Vec};
use core::net::SocketAddrV4;

use proto_eve::wire::info::{NtpSource, NtpSourceMode, NtpSourceState, ZInfoNtpSources};

use super::{MAX_SERVERS, TimeReading};

/// A time server that is asked.
#[derive(Clone, Debug, PartialEq)]
struct Source {
    name: String,
    state: NtpSourceState,
    /// Of its last questions the latest is the lowest bit; 1 if it has answered.
    reach: u8,
    heard: Option<Heard>,
}

/// What it has said last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heard {
    address: SocketAddrV4,
    stratum: u8,
    /// How far it was ahead of our clock, in seconds, if that said anything.
    offset: f64,
    /// What question and answer have spent on the way, in seconds.
    delay: f64,
}

/// Those that are asked, in the order in which they are.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// These are asked now, one after the other until one answers.
    pub(super) fn ask(&mut self, servers: &[String]) {
        let known = core::mem::take(&mut self.0);
        let of = |name: &String| {
            let state = NtpSourceState::Unspecified;
            let known = known.iter().find(|source| source.name == *name).cloned();
            known.unwrap_or_else(|| Source { name: name.clone(), state, reach: 0, heard: None })
        };
        self.0 = servers.iter().take(MAX_SERVERS).map(of).collect();
    }

    /// None has answered.
    pub(super) fn silent(&mut self) {
        self.0.iter_mut().for_each(Source::silent);
    }

    /// This one has answered, after those ahead of it have not. `ahead` is how far it is ahead of our clock, in seconds.
    pub(super) fn answered(&mut self, reading: &TimeReading, ahead: f64, is_believed: bool) {
        let Some(place) = self.0.iter().position(|source| source.name == reading.name) else { return };
        let (before, rest) = self.0.split_at_mut(place);
        before.iter_mut().for_each(Source::silent);
        let Some((source, after)) = rest.split_first_mut() else { return };
        source.reach = source.reach << 1 | 1;
        source.state = if is_believed { NtpSourceState::Sync } else { NtpSourceState::Falseticker };
        source.heard = Some(Heard {
            address: reading.address,
            stratum: reading.stratum,
            offset: ahead,
            delay: 2.0 * reading.within.as_secs_f64(),
        });
        // They were not asked: the clock does not go by them, and may well do so again.
        for source in after.iter_mut().filter(|source| source.state == NtpSourceState::Sync) {
            source.state = NtpSourceState::Candidate;
        }
    }

    /// For the controller; none before the first question has ended.
    pub(crate) fn report(&self) -> Option<ZInfoNtpSources> {
        let tried = self.0.iter().any(|source| source.state != NtpSourceState::Unspecified);
        tried.then(|| ZInfoNtpSources { sources: self.0.iter().map(Source::report).collect() })
    }
}

impl Source {
    fn silent(&mut self) {
        self.reach <<= 1;
        self.state = NtpSourceState::Unreach;
    }

    fn report(&self) -> NtpSource {
        let heard = self.heard.as_ref();
        NtpSource {
            reachable: self.reach & 1 != 0,
            reachability: self.reach.into(),
            state: self.state as i32,
            mode: NtpSourceMode::Client as i32,
            hostname: self.name.clone(),
            dst_addr: heard.map(|heard| alloc::format!("{}", heard.address.ip())).unwrap_or_default(),
            dst_port: heard.map_or(0, |heard| heard.address.port().into()),
            stratum: heard.map_or(0, |heard| heard.stratum.into()),
            offset: heard.map_or(0.0, |heard| heard.offset),
            delay: heard.map_or(0.0, |heard| heard.delay),
            ..NtpSource::default()
        }
    }
}

/// What has to move for the controller to be told: which sources there are, and their state.
pub(crate) fn steady(mut report: ZInfoNtpSources) -> ZInfoNtpSources {
    for source in &mut report.sources {
        (source.offset, source.delay, source.reachability) = (0.0, 0.0, 0);
    }
    report
}
