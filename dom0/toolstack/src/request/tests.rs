use super::*;
use crate::image::sha256;

const APP: AppId = AppId([1; 16]);
const OTHER: AppId = AppId([2; 16]);
const IMAGE: &[u8] = b"not an ELF, which is not looked at here";
const PLENTY: u64 = 1 << 20;

fn requests() -> Requests<&'static str> {
    with_room(1 << 20)
}

fn with_room(bytes: usize) -> Requests<&'static str> {
    Requests::new(Applications { memory_mib: 64, count: 2, vcpus: 1, cpus: 0, image_kib: 1 }, bytes)
}

fn definition(app: AppId) -> AppDefinition {
    AppDefinition {
        app,
        name: "hello".try_into().unwrap(),
        memory_kib: 32 * 1024,
        vcpus: 1,
        command_line: Default::default(),
        image_length: IMAGE.len() as u32,
        image_sha256: sha256(IMAGE),
    }
}

fn staged(app: AppId) -> Requests<&'static str> {
    let mut requests = requests();
    requests.define(&definition(app)).unwrap();
    assert_eq!(requests.image_piece(app, 0, &IMAGE[..10]), Ok(Progress::More));
    assert_eq!(requests.image_piece(app, 10, &IMAGE[10..]), Ok(Progress::Staged));
    requests
}

fn kind<T>(result: Result<T, Refused>) -> Refusal {
    result.err().expect("refused").refusal
}

#[test]
fn an_application_is_staged_started_stopped_and_started_again() {
    let mut requests = staged(APP);
    let job = requests.order(APP, PLENTY).unwrap();
    assert_eq!((job.image, job.memory_pages), (IMAGE, 8192));
    requests.started(APP, DomId(5), 0, "first");
    assert_eq!(requests.running().map(|(id, _)| id).next(), Some(DomId(5)));
    assert_eq!(kind(requests.order(APP, PLENTY)), Refusal::WrongState);
    assert_eq!(kind(requests.define(&definition(APP))), Refusal::WrongState);
    assert_eq!(requests.stop(APP), Ok((DomId(5), "first")));
    assert_eq!(kind(requests.stop(APP)), Refusal::WrongState);
    requests.order(APP, PLENTY).unwrap();
    requests.started(APP, DomId(6), 0, "second");
    assert_eq!(requests.ended(DomId(5)), None);
    assert_eq!(requests.ended(DomId(6)), Some((APP, "second")));
    assert_eq!(requests.forget(APP), Ok(None));
    assert_eq!(kind(requests.forget(APP)), Refusal::Unknown);
}

#[test]
fn limits_hold_at_the_definition() {
    let refused = |change: fn(&mut AppDefinition)| {
        let mut changed = definition(APP);
        change(&mut changed);
        kind(requests().define(&changed))
    };
    assert_eq!(refused(|d| d.memory_kib = 64 * 1024 + 1), Refusal::Memory);
    assert_eq!(refused(|d| d.memory_kib = 2047), Refusal::Memory);
    assert_eq!(refused(|d| d.memory_kib = u32::MAX), Refusal::Memory);
    assert_eq!(refused(|d| d.vcpus = 0), Refusal::Vcpus);
    assert_eq!(refused(|d| d.vcpus = 2), Refusal::Vcpus);
    assert_eq!(refused(|d| d.image_length = 0), Refusal::ImageSize);
    assert_eq!(refused(|d| d.image_length = 1025), Refusal::ImageSize);
}

#[test]
fn the_number_of_applications_is_limited() {
    let mut requests = staged(APP);
    requests.define(&definition(OTHER)).unwrap();
    assert_eq!(kind(requests.define(&definition(AppId([3; 16])))), Refusal::TooMany);
    requests.define(&definition(OTHER)).unwrap();
    assert_eq!(requests.all().count(), 2);
}

#[test]
fn memory_of_all_is_limited() {
    let mut requests = staged(APP);
    assert_eq!(kind(requests.order(APP, 32 * 1024)), Refusal::Memory, "nothing left for Xen");
    requests.started(APP, DomId(5), 0, "first");
    let mut large = definition(OTHER);
    large.memory_kib += 4;
    requests.define(&large).unwrap();
    requests.image_piece(OTHER, 0, IMAGE).unwrap();
    let error = requests.order(OTHER, PLENTY).unwrap_err();
    assert_eq!(error.refusal, Refusal::Memory);
    assert_eq!(
        error.reason,
        "32772 KiB of memory; applications that run have 32768 of the 65536 KiB that are allowed"
    );
    requests.stop(APP).unwrap();
    requests.order(OTHER, PLENTY).unwrap();
}

#[test]
fn pieces_come_in_order_and_end_where_they_should() {
    let mut requests = requests();
    assert_eq!(kind(requests.image_piece(APP, 0, b"x")), Refusal::Unknown);
    requests.define(&definition(APP)).unwrap();
    assert_eq!(kind(requests.order(APP, PLENTY)), Refusal::WrongState);
    for (offset, bytes) in [(1, &IMAGE[1..]), (0, &[][..]), (u32::MAX, b"x"), (0, &[0; 40][..])] {
        assert_eq!(kind(requests.image_piece(APP, offset, bytes)), Refusal::ImagePiece);
    }
    assert_eq!(requests.image_piece(APP, 0, IMAGE), Ok(Progress::Staged));
    assert_eq!(kind(requests.image_piece(APP, 39, b"x")), Refusal::WrongState);
}

#[test]
fn an_image_with_another_hash_is_dropped_and_may_be_sent_again() {
    let mut requests = requests();
    requests.define(&definition(APP)).unwrap();
    let mut spoilt = std::vec::Vec::from(IMAGE);
    spoilt[3] ^= 1;
    let error = requests.image_piece(APP, 0, &spoilt).unwrap_err();
    assert_eq!(error.refusal, Refusal::ImageHash);
    assert!(error.reason.starts_with("SHA-256 of the image is "), "{}", error.reason);
    assert_eq!(requests.image_piece(APP, 0, IMAGE), Ok(Progress::Staged));
}

#[test]
fn images_share_the_room_that_dom0_has() {
    let mut requests = with_room(2 * IMAGE.len() - 1);
    for app in [APP, OTHER] {
        requests.define(&definition(app)).unwrap();
    }
    assert_eq!(requests.image_piece(APP, 0, IMAGE), Ok(Progress::Staged));
    let refused = requests.image_piece(OTHER, 0, IMAGE).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Memory);
    assert!(refused.reason.ends_with("; 38 bytes are left for images"), "{}", refused.reason);
    requests.forget(APP).unwrap();
    assert_eq!(requests.image_piece(OTHER, 0, IMAGE), Ok(Progress::Staged));
}
