use alloc::vec;

use proto_svc::text::clipped;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant(0).after(Duration::from_secs(seconds))
}

fn status(tpm: Tpm, sealing: Sealing) -> Answer {
    Answer::Status(Status {
        tpm,
        about: clipped("a TPM"),
        sealing,
        reason: clipped("other firmware"),
        changed: 16,
        writes_refused: 0,
    })
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused { refusal, reason: clipped("because") }
}

fn public() -> Answer {
    Answer::Public { key: heapless::Vec::from_slice(&[4; 65]).unwrap(), tpm: heapless::Vec::new() }
}

fn kept(note: &[u8]) -> Answer {
    Answer::Kept { note: heapless::Vec::from_slice(note).unwrap() }
}

/// Answers what is asked next, and says what it was.
fn answer(vault: &mut Vault, answer: Answer) -> (Request, Told) {
    let request = vault.next_request(at(0)).expect("something is asked");
    assert_eq!(vault.next_request(at(0)), None, "one at a time");
    (request, vault.on_answer(at(0), answer))
}

/// A vault that has told its keys.
fn known(tpm: Tpm) -> Vault {
    let mut vault = Vault::expected();
    vault.on_there(at(0));
    assert_eq!(answer(&mut vault, status(tpm, Sealing::Open)), (Request::Status, Told::Status));
    while let (Request::Public(_), told) = answer(&mut vault, public()) {
        assert_eq!(told, Told::Nothing);
        if vault.wanted.front() == Some(&Request::Kept) {
            break;
        }
    }
    assert_eq!(answer(&mut vault, kept(b"note")), (Request::Kept, Told::Keys));
    vault
}

#[test]
fn keys_and_note_are_asked_for_once_it_is_there() {
    let mut vault = Vault::expected();
    assert_eq!((vault.next_request(at(0)), vault.identity().is_some()), (None, false));
    let mut vault_with_tpm = known(Tpm::Ready);
    let (keys, note) = vault_with_tpm.identity().unwrap();
    assert_eq!(note, b"note");
    assert!(
        keys.device.is_some() && keys.ecdh.is_some() && keys.quote.is_some() && keys.endorsement.is_some()
    );
    assert_eq!(vault_with_tpm.next_request(at(0)), Some(Request::Escrow));
    vault = known(Tpm::None);
    let (keys, _) = vault.identity().unwrap();
    assert!(keys.device.is_some() && keys.quote.is_none() && keys.endorsement.is_none());
    assert_eq!(vault.next_request(at(0)), None);
}

#[test]
fn a_tpm_that_does_not_work_is_asked_again_and_gives_no_identity() {
    let mut vault = Vault::expected();
    vault.on_there(at(0));
    assert_eq!(answer(&mut vault, status(Tpm::Failed, Sealing::Unknown)).1, Told::Status);
    assert_eq!(
        (vault.next_request(at(0)), vault.identity().is_none(), vault.deadline()),
        (None, true, Some(at(15)))
    );
    vault.step(at(14));
    assert_eq!(vault.next_request(at(0)), None);
    vault.step(at(15));
    assert_eq!(answer(&mut vault, status(Tpm::Ready, Sealing::Open)).0, Request::Status);
    assert_eq!(vault.next_request(at(0)), Some(Request::Public(KeyName::Device)));
}

#[test]
fn a_vault_without_the_rarer_keys_is_known_all_the_same() {
    let mut vault = Vault::expected();
    vault.on_there(at(0));
    answer(&mut vault, status(Tpm::Ready, Sealing::Open));
    for name in [KeyName::Device, KeyName::Ecdh, KeyName::Quote, KeyName::Endorsement] {
        let given = matches!(name, KeyName::Device | KeyName::Ecdh);
        let (request, told) = answer(&mut vault, if given { public() } else { refused(Refusal::NoTpm) });
        assert_eq!((request, told), (Request::Public(name), Told::Nothing));
    }
    assert_eq!(answer(&mut vault, kept(b"")), (Request::Kept, Told::Keys));
    assert_eq!(vault.identity().unwrap().1, b"");
}

/// 1. The TPM fails for a moment, when the device is already known by certificates.
/// 2. A key or the note is not told.
/// 3. Certificates without it would be others, and their note would take the place of the right one.
#[test]
fn what_the_vault_does_not_tell_now_is_not_taken_for_missing() {
    let keys = [KeyName::Device, KeyName::Ecdh, KeyName::Quote, KeyName::Endorsement].map(Request::Public);
    let all: Vec<Request> = keys.into_iter().chain([Request::Kept]).collect();
    for failing in &all {
        let mut vault = Vault::expected();
        vault.on_there(at(0));
        answer(&mut vault, status(Tpm::Ready, Sealing::Open));
        let given = |request: &Request| if *request == Request::Kept { kept(b"note") } else { public() };
        for request in &all {
            let answered = if request == failing { refused(Refusal::Tpm) } else { given(request) };
            assert_eq!(answer(&mut vault, answered), (request.clone(), Told::Nothing), "without {failing:?}");
        }
        assert!(vault.identity().is_none());
        assert_eq!((vault.next_request(at(0)), vault.deadline()), (None, Some(at(15))));
        vault.step(at(15));
        answer(&mut vault, status(Tpm::Ready, Sealing::Open));
        for request in &all {
            let told = answer(&mut vault, given(request)).1;
            assert_eq!(told == Told::Keys, *request == Request::Kept);
        }
        assert_eq!(vault.identity().unwrap().1, b"note");
    }
}

#[test]
fn a_note_that_is_not_there_yet_is_no_empty_note() {
    let mut vault = Vault::expected();
    vault.on_there(at(0));
    answer(&mut vault, status(Tpm::None, Sealing::Unknown));
    for request in [Request::Public(KeyName::Device), Request::Public(KeyName::Ecdh), Request::Kept] {
        assert_eq!(answer(&mut vault, refused(Refusal::Busy)), (request, Told::Nothing));
    }
    assert_eq!((vault.identity().is_some(), vault.next_request(at(0))), (false, None));
    assert_eq!(vault.deadline(), Some(at(15)));
    vault.look();
    answer(&mut vault, status(Tpm::None, Sealing::Open));
    answer(&mut vault, public());
    answer(&mut vault, public());
    assert_eq!(answer(&mut vault, kept(b"note")), (Request::Kept, Told::Keys));
    assert_eq!(vault.identity().unwrap().1, b"note");
}

/// `TPMS_ATTEST` as far as it is looked at, about these values.
fn attest(values: &[[u8; 32]]) -> heapless::Vec<u8, { proto_svc::vault::MAX_ATTEST }> {
    let digest: [u8; 32] = Sha256::digest(values[..QUOTED].concat()).into();
    heapless::Vec::from_slice(&[b"head".as_slice(), &digest].concat()).unwrap()
}

#[test]
fn a_quote_comes_with_the_values_that_it_is_about() {
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    let values = [[7; 32]; 24];
    vault.quote(b"0123456789ab");
    let quote = Answer::Quote { attest: attest(&values), r: [1; 32], s: [2; 32] };
    let (request, told) = answer(&mut vault, quote);
    let nonce = heapless::Vec::from_slice(b"0123456789ab").unwrap();
    assert_eq!((request, told), (Request::Quote { nonce }, Told::Nothing));
    let (request, told) = answer(&mut vault, Answer::Pcrs(heapless::Vec::from_slice(&values).unwrap()));
    assert_eq!(request, Request::Pcrs);
    let Told::Quote(Ok(quote)) = told else { panic!("{told:?}") };
    assert_eq!((quote.attest, quote.pcrs), (attest(&values).to_vec(), values.to_vec()));
    assert_eq!(quote.signature[0], 0x30);
}

#[test]
fn a_quote_that_was_overtaken_by_a_measurement_is_asked_for_again() {
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.quote(b"0123456789ab");
    for turn in 1..=QUOTES {
        let quote = Answer::Quote { attest: attest(&[[7; 32]; 24]), r: [1; 32], s: [2; 32] };
        assert_eq!(answer(&mut vault, quote).1, Told::Nothing);
        let values = heapless::Vec::from_slice(&[[8; 32]; 24]).unwrap();
        let told = answer(&mut vault, Answer::Pcrs(values)).1;
        assert_eq!(matches!(told, Told::Quote(Err(_))), turn == QUOTES, "{told:?}");
    }
    assert_eq!(vault.next_request(at(0)), None);
}

#[test]
fn bad_quotes_and_values_are_none() {
    let values = [[7; 32]; 24];
    let empty = Answer::Quote { attest: heapless::Vec::new(), r: [1; 32], s: [2; 32] };
    let unsigned = Answer::Quote { attest: attest(&values), r: [0; 32], s: [2; 32] };
    for bad in [refused(Refusal::Tpm), empty, unsigned, Answer::Done, kept(b"")] {
        let mut vault = known(Tpm::Ready);
        answer(&mut vault, refused(Refusal::Locked));
        vault.quote(b"0123456789ab");
        assert!(matches!(answer(&mut vault, bad).1, Told::Quote(Err(_))));
        assert_eq!(vault.next_request(at(0)), None);
    }
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.quote(b"0123456789ab");
    answer(&mut vault, Answer::Quote { attest: attest(&values), r: [1; 32], s: [2; 32] });
    let few = Answer::Pcrs(heapless::Vec::from_slice(&values[..8]).unwrap());
    assert_eq!(answer(&mut vault, few).1, Told::Nothing, "it is asked again");
    assert!(matches!(vault.next_request(at(0)), Some(Request::Quote { .. })));
}

#[test]
fn the_storages_key_is_pending_refused_or_there() {
    let escrowed = || Escrowed { encrypted: heapless::Vec::from_slice(&[1; 32]).unwrap(), digest: [2; 32] };
    let key = EscrowedKey { encrypted: vec![1; 32], digest: [2; 32] };
    for (given, is, again) in [
        (Answer::Escrow(escrowed()), Escrow::Ready(key.clone()), false),
        (refused(Refusal::Locked), Escrow::Pending, false),
        (refused(Refusal::Busy), Escrow::Pending, true),
        (refused(Refusal::NoTpm), Escrow::None, false),
        (Answer::Done, Escrow::Pending, false),
    ] {
        let mut vault = known(Tpm::Ready);
        assert_eq!(answer(&mut vault, given), (Request::Escrow, Told::Escrow(is)));
        assert_eq!(vault.deadline().is_some(), again);
    }
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.recover(&key);
    assert_eq!(answer(&mut vault, Answer::Done), (Request::Recover(escrowed()), Told::Nothing));
    assert_eq!(vault.next_request(at(0)), Some(Request::Status), "what came of it is looked at");
    // Not even asked for.
    let mut vault = known(Tpm::None);
    vault.recover(&EscrowedKey { encrypted: vec![1; 65], digest: [2; 32] });
    assert_eq!(vault.next_request(at(0)), None);
}

#[test]
fn what_it_is_told_anew_is_asked_anew() {
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.look();
    vault.look();
    assert_eq!(answer(&mut vault, status(Tpm::Ready, Sealing::Locked)), (Request::Status, Told::Status));
    assert!(vault.is_locked());
    assert_eq!(answer(&mut vault, refused(Refusal::Locked)).0, Request::Escrow);
    assert_eq!(vault.next_request(at(0)), None);
    vault.on_gone();
    vault.look();
    assert_eq!(vault.next_request(at(0)), None, "nothing is asked of nobody");
    vault.on_there(at(0));
    assert_eq!(vault.next_request(at(0)), Some(Request::Status));
}

#[test]
fn answers_to_nothing_and_to_something_else_do_no_harm() {
    let answers = || {
        [
            status(Tpm::Ready, Sealing::Open),
            public(),
            kept(b"x"),
            Answer::Pcrs(heapless::Vec::new()),
            Answer::Shared([1; 32], [2; 32]),
            Answer::Signature([1; 32], [2; 32]),
            Answer::Done,
            refused(Refusal::Point),
        ]
    };
    for given in answers() {
        assert_eq!(Vault::expected().on_answer(at(0), given), Told::Nothing);
    }
    for given in answers().into_iter().skip(1) {
        let mut vault = Vault::expected();
        vault.on_there(at(0));
        assert_eq!(answer(&mut vault, given), (Request::Status, Told::Nothing));
        assert_eq!(vault.deadline(), Some(at(15)), "its state is asked for again");
    }
    let peer = [4; 65];
    let mut vault = known(Tpm::None);
    vault.agree(&peer);
    let told = answer(&mut vault, refused(Refusal::Point)).1;
    assert_eq!(told, Told::Shared(peer.to_vec(), None));
    vault.agree(&peer);
    let told = answer(&mut vault, Answer::Shared([1; 32], [2; 32])).1;
    assert_eq!(told, Told::Shared(peer.to_vec(), Some(([1; 32], [2; 32]))));
}

#[test]
fn a_question_that_is_not_answered_is_asked_again_and_stops_nothing() {
    let mut vault = Vault::expected();
    vault.on_there(at(0));
    for turn in 0..3 {
        let now = at(60 * turn);
        assert_eq!(vault.next_request(now), Some(Request::Status));
        assert_eq!((vault.next_request(now), vault.deadline()), (None, Some(at(60 * turn + 60))));
        vault.step(at(60 * turn + 59));
        assert_eq!(vault.next_request(now), None);
        vault.step(at(60 * turn + 60));
    }
    // A death of the vault is no silence: the next life is asked by the shell, and has its time.
    assert_eq!(vault.next_request(at(180)), Some(Request::Status));
    vault.on_gone();
    vault.step(at(1000));
    assert_eq!((vault.next_request(at(1000)), vault.deadline()), (None, None));
    vault.on_there(at(1000));
    assert_eq!((vault.next_request(at(1000)), vault.deadline()), (None, Some(at(1060))));
    assert_eq!(vault.on_answer(at(1001), status(Tpm::Ready, Sealing::Open)), Told::Status);
    assert_eq!(vault.next_request(at(1001)), Some(Request::Status), "its state may have changed");
}

#[test]
fn a_note_that_is_not_kept_is_tried_again_ever_more_rarely() {
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.keep(b"certificates");
    let keep = Request::Keep { note: heapless::Vec::from_slice(b"certificates").unwrap() };
    let mut now = 0;
    for wait in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        assert_eq!((vault.is_keeping(), vault.next_request(at(now))), (true, Some(keep.clone())));
        assert_eq!(vault.on_answer(at(now), refused(Refusal::Tpm)), Told::Nothing);
        assert_eq!(vault.deadline(), Some(at(now + wait)));
        // A change is no reason to write more often.
        vault.look();
        while let Some(request) = vault.next_request(at(now)) {
            assert_ne!(request, keep);
            let given = if request == Request::Status {
                status(Tpm::Ready, Sealing::Open)
            } else {
                refused(Refusal::Locked)
            };
            vault.on_answer(at(now), given);
        }
        now += wait;
        vault.step(at(now - 1));
        assert_eq!(vault.next_request(at(now - 1)), None);
        vault.step(at(now));
    }
    assert_eq!(vault.identity().unwrap().1, b"note", "it is not taken for kept");
    assert_eq!(answer(&mut vault, Answer::Done), (keep, Told::Keys));
    assert_eq!((vault.is_keeping(), vault.identity().unwrap().1), (false, &b"certificates"[..]));
}

#[test]
fn a_note_that_the_storage_is_writing_is_asked_for_again_when_it_has() {
    let mut vault = known(Tpm::None);
    vault.keep(b"certificates");
    let keep = Request::Keep { note: heapless::Vec::from_slice(b"certificates").unwrap() };
    assert_eq!(answer(&mut vault, refused(Refusal::Busy)), (keep.clone(), Told::Nothing));
    assert_eq!((vault.next_request(at(0)), vault.deadline()), (None, Some(at(15))));
    vault.look();
    answer(&mut vault, status(Tpm::None, Sealing::Open));
    assert_eq!(answer(&mut vault, Answer::Done), (keep, Told::Keys));
    assert_eq!((vault.is_keeping(), vault.deadline()), (false, None));
}

#[test]
fn what_would_unlock_the_storage_is_asked_again_while_the_vault_is_busy() {
    let mut vault = known(Tpm::Ready);
    answer(&mut vault, refused(Refusal::Locked));
    vault.start_anew();
    for turn in 1..4 {
        assert_eq!(answer(&mut vault, refused(Refusal::Busy)).0, Request::StartAnew);
        assert_eq!((vault.next_request(at(0)), vault.deadline()), (None, Some(at(15))), "{turn}");
        vault.step(at(15));
        answer(&mut vault, status(Tpm::Ready, Sealing::Locked));
        answer(&mut vault, refused(Refusal::Locked));
    }
    assert_eq!(answer(&mut vault, refused(Refusal::Forbidden)).0, Request::StartAnew);
    assert_eq!((vault.next_request(at(0)), vault.deadline()), (None, None), "that is final");
}
