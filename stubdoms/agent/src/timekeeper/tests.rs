use super::*;
use crate::clock::{EARLIEST, LATEST};

/// 2027-01-01.
const NEW_YEAR: u64 = 1_798_761_600;
const BOOT: u64 = NEW_YEAR - 100;

/// So many seconds after boot, with a clock that is off by `off` seconds.
fn now(at: u64, off: i64) -> Now {
    let wall = BOOT.checked_add_signed(off).map(|boot| WallTime { seconds: boot + at, nanos: 0 });
    Now { monotonic_ns: at * 1_000_000_000, wall }
}

fn reading(at: u64, seconds: u64) -> TimeReading {
    TimeReading {
        name: "10.0.2.2".into(),
        address: core::net::SocketAddrV4::new([10, 0, 2, 2].into(), 123),
        stratum: 2,
        since_1970: Duration::from_secs(seconds),
        at_ns: at * 1_000_000_000,
        within: Duration::from_millis(5),
    }
}

fn asked(at: u64) -> Timekeeper {
    let mut keeper = Timekeeper::new(Instant(0), Vec::new(), 1);
    keeper.on_uplink(now(at, 0).at(), true);
    assert!(keeper.step(now(at, 0)));
    keeper
}

fn judge(keeper: &mut Timekeeper, now: Now, reading: &TimeReading) -> Result<Verdict, Refused> {
    keeper.judge(now, reading)
}

#[test]
fn a_server_is_asked_as_soon_as_there_is_an_uplink_and_then_rarely() {
    let mut keeper = Timekeeper::new(Instant(0), Vec::new(), 1);
    assert!(!keeper.step(now(50, 0)) && keeper.deadline().is_none());
    keeper.on_uplink(now(60, 0).at(), true);
    assert!(keeper.step(now(60, 0)));
    assert!(!keeper.step(now(61, 0)), "one question at a time");
    assert_eq!(judge(&mut keeper, now(62, 0), &reading(62, BOOT + 62)), Ok(Verdict::Right));
    let next = keeper.deadline().unwrap();
    assert!((now(62 + 2880, 0).at()..=now(62 + 4320, 0).at()).contains(&next));
    keeper.on_uplink(now(70, 0).at(), false);
    assert_eq!(keeper.deadline(), None);
    keeper.on_uplink(now(80, 0).at(), true);
    assert_eq!(keeper.deadline(), Some(next), "a cable is no reason to ask again");
}

#[test]
fn questions_without_an_answer_are_asked_again_less_and_less() {
    // Waits with a clock that may be right, and with one that was never set.
    for (off, expected) in [
        (0, [8, 16, 32, 64, 128, 256, 512, 1024, 1024]),
        (-1_700_000_000, [8, 16, 32, 64, 64, 64, 64, 64, 64]),
    ] {
        let mut keeper = asked(0);
        let mut at = 0;
        for wait in expected {
            keeper.failed(now(at, off));
            assert!(!keeper.step(now(at + wait - 1, off)));
            at += wait;
            assert!(keeper.step(now(at, off)), "after {wait} s");
        }
    }
    // One that the shell never answers counts as failed.
    let mut keeper = asked(0);
    assert!(!keeper.step(now(90, 0)));
    assert!(keeper.step(now(98, 0)));
}

#[test]
fn a_wrong_clock_is_set_whether_it_looks_right_or_not() {
    let true_boot = Duration::from_secs(BOOT);
    for (off, large) in
        [(-(BOOT as i64), true), (400_000_000, true), (-3600, true), (10, true), (9, false), (-1, false)]
    {
        let mut keeper = asked(5);
        let verdict = judge(&mut keeper, now(9, off), &reading(7, BOOT + 7));
        assert_eq!(verdict, Ok(Verdict::Set { power_on: true_boot, large }), "{off}");
    }
    // And one that is not there.
    let unknown = Now { wall: None, ..now(9, 0) };
    let verdict = judge(&mut asked(5), unknown, &reading(7, BOOT + 7));
    assert_eq!(verdict, Ok(Verdict::Set { power_on: true_boot, large: true }));
    // What may be for the way alone is left.
    let slow = TimeReading { within: Duration::from_secs(2), ..reading(7, BOOT + 9) };
    assert_eq!(judge(&mut asked(5), now(9, 0), &slow), Ok(Verdict::Right));
}

#[test]
fn what_cannot_be_is_refused() {
    for seconds in [0, EARLIEST - 1, LATEST, u64::from(u32::MAX) * 2] {
        let refused = judge(&mut asked(5), now(9, 0), &reading(9, seconds));
        assert!(matches!(refused, Err(Refused::Bounds(_))), "{seconds}");
    }
    for seconds in [EARLIEST, LATEST - 1] {
        assert!(judge(&mut asked(5), now(9, 0), &reading(9, seconds)).is_ok());
    }
}

#[test]
fn nobody_puts_the_time_before_what_the_controller_told() {
    let mut keeper = asked(5);
    keeper.on_controller(now(10, 0).at(), BOOT + 10);
    let day = 24 * 3600;
    for (at, seconds, expected) in [
        (10, BOOT + 10, true),
        (20, BOOT + 20 - 2, true),
        (20, BOOT + 20 - 3, false),
        (20, EARLIEST, false),
        // The counter may run wrong by a thousandth.
        (10 + day, BOOT + 10 + day - 86 - 2, true),
        (10 + day, BOOT + 10 + day - 86 - 3, false),
        (20, BOOT + 20 + day, true),
        (20, BOOT + 20 + day + 3, false),
        (20, LATEST - 1, false),
    ] {
        let verdict = judge(&mut keeper, now(at, 0), &reading(at, seconds));
        assert_eq!(verdict.is_ok(), expected, "{at} {verdict:?}");
    }
    // What the controller says later counts, and nothing that cannot be.
    keeper.on_controller(now(30, 0).at(), BOOT - 5000);
    assert!(judge(&mut keeper, now(30, 0), &reading(30, BOOT - 4000)).is_ok());
    keeper.on_controller(now(30, 0).at(), 7);
    keeper.on_controller(now(30, 0).at(), u64::MAX);
    assert!(judge(&mut keeper, now(30, 0), &reading(30, BOOT - 4000)).is_ok());
}

#[test]
fn a_clock_that_was_put_ahead_is_put_back() {
    // Nobody has reached the controller yet, and somebody on the way has answered.
    let mut keeper = asked(5);
    let ahead = judge(&mut keeper, now(9, 0), &reading(9, BOOT + 9 + 1_000_000_000));
    assert!(matches!(ahead, Ok(Verdict::Set { large: true, .. })));
    // Certificates do not verify now, so it is asked again soon; the answer is an honest one.
    keeper.doubt();
    assert!(!keeper.step(now(68, 1_000_000_000)) && keeper.step(now(69, 1_000_000_000)));
    let back = judge(&mut keeper, now(70, 1_000_000_000), &reading(70, BOOT + 70));
    assert_eq!(back, Ok(Verdict::Set { power_on: Duration::from_secs(BOOT), large: true }));
}

#[test]
fn certificates_wait_for_an_answer_and_not_for_ever() {
    let mut keeper = Timekeeper::new(Instant(0), Vec::new(), 1);
    assert!(keeper.settled(now(59, 0)).is_none() && keeper.is_settling(now(59, 0)));
    assert_eq!(keeper.settled(now(60, 0)), now(60, 0).wall);
    keeper.on_uplink(now(50, 0).at(), true);
    assert!(keeper.settled(now(69, 0)).is_none());
    assert_eq!(keeper.settled(now(70, 0)), now(70, 0).wall);
    assert!(keeper.step(now(51, 0)));
    keeper.failed(now(52, 0));
    assert_eq!(keeper.settled(now(52, 0)), now(52, 0).wall, "nobody answers");
    // A clock that cannot be right is none, however long it takes.
    assert_eq!(keeper.settled(now(100_000, -1_700_000_000)), None);
    assert_eq!(keeper.settled(now(100_000, LATEST as i64)), None);
    assert!(!keeper.is_settling(now(100_000, -1_700_000_000)));
}

#[test]
fn who_is_asked_is_who_is_nearest() {
    let named = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect::<Vec<_>>();
    let usual = Timekeeper::new(Instant(0), Vec::new(), 1);
    assert_eq!(usual.servers(&[], &[]), ["pool.ntp.org"]);
    let provisioned = Timekeeper::new(Instant(0), named(&["ntp.example:1123"]), 1);
    assert_eq!(provisioned.servers(&[], &[]), ["ntp.example:1123"]);
    assert_eq!(provisioned.servers(&[], &named(&["10.0.2.4"])), ["10.0.2.4"]);
    assert_eq!(provisioned.servers(&named(&["a", "b"]), &named(&["b", "c", "d", "e"])), ["a", "b", "c", "d"]);
}

#[test]
fn a_later_life_goes_on_with_the_time() {
    let mut keeper = asked(5);
    keeper.on_controller(now(10, 0).at(), BOOT + 10);
    let _ = judge(&mut keeper, now(12, -7000), &reading(12, BOOT + 12));
    let mut later = Timekeeper::new(now(20, 0).at(), Vec::new(), 1);
    assert_eq!(later.recall(&mut keeper.numbers().into_iter()), Some(Duration::from_secs(BOOT)));
    assert!(judge(&mut later, now(20, 0), &reading(20, BOOT)).is_err(), "the controller's date holds on");
    let mut fresh = Timekeeper::new(now(20, 0).at(), Vec::new(), 1);
    assert_eq!(fresh.recall(&mut core::iter::empty()), None);
    assert_eq!(fresh.recall(&mut Timekeeper::new(Instant(0), Vec::new(), 1).numbers().into_iter()), None);
}

#[test]
fn of_several_servers_the_report_tells_who_was_asked_and_what_came_of_it() {
    let names = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect::<Vec<_>>();
    let report = |keeper: &Timekeeper| {
        let report = keeper.sources.report();
        let told =
            |source: &proto_eve::wire::info::NtpSource| (source.state().as_str_name(), source.reachability);
        report.map(|report| report.sources.iter().map(told).collect::<Vec<_>>())
    };
    let mut keeper = asked(1);
    keeper.ask(&names(&["a", "b", "c"]));
    assert_eq!(report(&keeper), None, "nothing is known yet");
    let from = |name: &str, at| TimeReading { name: name.into(), ..reading(at, BOOT + at) };
    judge(&mut keeper, now(2, 0), &from("b", 2)).unwrap();
    let (silent, sync) = ("NTP_SOURCE_STATE_UNREACH", "NTP_SOURCE_STATE_SYNC");
    assert_eq!(report(&keeper).unwrap(), [(silent, 0), (sync, 1), ("NTP_SOURCE_STATE_UNSPECIFIED", 0)]);
    keeper.ask(&names(&["a", "b", "c"]));
    judge(&mut keeper, now(3, 0), &from("a", 3)).unwrap();
    let expected = [(sync, 1), ("NTP_SOURCE_STATE_CANDIDATE", 1), ("NTP_SOURCE_STATE_UNSPECIFIED", 0)];
    assert_eq!(report(&keeper).unwrap(), expected);
    // The others are as they were, the one that is gone is forgotten.
    keeper.ask(&names(&["d", "b"]));
    keeper.failed(now(4, 0));
    assert_eq!(report(&keeper).unwrap(), [(silent, 0), (silent, 2)]);
    // An answer from nobody that was asked is no source.
    judge(&mut keeper, now(5, 0), &from("x", 5)).unwrap();
    assert_eq!(report(&keeper).unwrap(), [(silent, 0), (silent, 2)]);
}
