use alloc::vec;

use super::*;
use crate::http::FailureKind;

fn at(seconds: u64) -> Instant {
    Instant(0).after(Duration::from_secs(seconds))
}

fn success() -> Outcome {
    Outcome::Success { status: 201, payload: Vec::new() }
}

fn nonce() -> Option<Response> {
    Some(Response::Nonce(vec![0; 12]))
}

fn accepted() -> Option<Response> {
    accepted_with(None)
}

fn without_tpm() -> Attest {
    let mut attest = Attest::new();
    attest.equip(false, false);
    attest
}

/// A machine whose quote is under way at second 0.
fn quoting() -> Attest {
    let mut attest = without_tpm();
    assert_eq!(attest.due(at(0)), None);
    attest.begin(at(0));
    assert_eq!(attest.due(at(0)), Some(Ask::Nonce));
    attest.sent(Ask::Nonce);
    assert_eq!((attest.state(), attest.due(at(99))), (AttestState::NonceWait, None));
    attest.on_answer(at(0), Ask::Nonce, success(), nonce());
    assert_eq!((attest.state(), attest.due(at(0))), (AttestState::AttestWait, Some(Ask::Quote)));
    attest.sent(Ask::Quote);
    assert_eq!(attest.due(at(99)), None);
    attest
}

#[test]
fn a_quote_that_is_accepted_brings_the_token() {
    let mut attest = quoting();
    attest.on_answer(at(1), Ask::Quote, success(), accepted());
    assert_eq!(attest.state(), AttestState::Complete);
    assert_eq!((attest.token(), attest.deadline()), (&b"token"[..], None));
}

#[test]
fn refusals_lead_to_a_new_nonce_after_15_seconds() {
    for rejection in [Rejection::NonceMismatch, Rejection::NoCertFound, Rejection::QuoteFailed] {
        let mut attest = quoting();
        attest.on_answer(at(1), Ask::Quote, success(), Some(Response::Rejected(rejection)));
        assert_eq!(attest.state(), AttestState::RestartWait);
        assert_eq!((attest.due(at(15)), attest.due(at(16))), (None, Some(Ask::Nonce)));
    }
}

#[test]
fn no_answer_and_no_reason_repeat_the_same_quote() {
    let mut attest = quoting();
    attest.on_answer(at(0), Ask::Quote, Outcome::NoAnswer(FailureKind::Timeout), None);
    assert_eq!(attest.state(), AttestState::AttestWait);
    assert_eq!((attest.due(at(14)), attest.due(at(15))), (None, Some(Ask::Quote)));
    for round in 0..3 {
        attest.sent(Ask::Quote);
        let invalid = Some(Response::Rejected(Rejection::Invalid));
        attest.on_answer(at(15), Ask::Quote, success(), invalid);
        let last = round == 2;
        assert_eq!(attest.state() == AttestState::RestartWait, last);
    }
    assert_eq!(attest.due(at(30)), Some(Ask::Nonce));
}

#[test]
fn a_missing_nonce_is_asked_for_again() {
    let mut attest = without_tpm();
    attest.begin(at(0));
    attest.sent(Ask::Nonce);
    // A nonce of the wrong length does not parse and comes as no response.
    attest.on_answer(at(0), Ask::Nonce, success(), None);
    assert_eq!((attest.due(at(14)), attest.due(at(15))), (None, Some(Ask::Nonce)));
}

#[test]
fn a_restart_counts_only_after_a_quote_and_waits_for_the_end_of_the_round() {
    let mut attest = without_tpm();
    attest.begin(at(0));
    attest.restart(at(0));
    attest.sent(Ask::Nonce);
    attest.on_answer(at(0), Ask::Nonce, success(), nonce());
    attest.sent(Ask::Quote);
    attest.restart(at(1));
    assert_eq!(attest.state(), AttestState::AttestWait);
    attest.on_answer(at(2), Ask::Quote, success(), accepted());
    assert_eq!(attest.state(), AttestState::RestartWait);
    let mut attest = quoting();
    attest.on_answer(at(2), Ask::Quote, success(), accepted());
    attest.restart(at(3));
    assert_eq!((attest.state(), attest.token()), (AttestState::RestartWait, &b""[..]));
    assert_eq!(attest.due(at(18)), Some(Ask::Nonce));
}

#[test]
fn certificates_are_published_before_the_first_nonce() {
    let mut attest = Attest::new();
    attest.equip(true, false);
    attest.begin(at(0));
    assert_eq!(attest.due(at(0)), Some(Ask::Certs));
    attest.sent(Ask::Certs);
    assert_eq!(attest.due(at(0)), None);
    let refused = Outcome::Status { status: 404, class: proto_eve::endpoint::StatusClass::UnknownDevice };
    attest.on_answer(at(0), Ask::Certs, refused, None);
    assert!(attest.certs_refused());
    assert_eq!(attest.due(at(0)), Some(Ask::Nonce));
    attest.sent(Ask::Nonce);
    assert_eq!(attest.due(at(15)), Some(Ask::Certs));
    attest.sent(Ask::Certs);
    attest.on_answer(at(15), Ask::Certs, success(), Some(Response::Certs));
    assert!(!attest.certs_refused());
}

fn tpm_quote() -> TpmQuote {
    TpmQuote { attest: vec![1], signature: vec![2], pcrs: vec![[3; 32]; 24], event_log: vec![4] }
}

fn key(byte: u8) -> EscrowedKey {
    EscrowedKey { encrypted: vec![byte; 32], digest: [byte; 32] }
}

/// A machine with a TPM that has the nonce.
fn asking_the_tpm() -> Attest {
    let mut attest = Attest::new();
    attest.equip(true, true);
    attest.begin(at(0));
    attest.sent(Ask::Certs);
    attest.on_answer(at(0), Ask::Certs, success(), Some(Response::Certs));
    attest.sent(Ask::Nonce);
    attest.on_answer(at(0), Ask::Nonce, success(), Some(Response::Nonce(vec![9; 12])));
    assert_eq!((attest.state(), attest.due(at(99))), (AttestState::TpmQuoteWait, None));
    attest
}

/// The same, whose quote is under way.
fn quoting_with_tpm() -> Attest {
    let mut attest = asking_the_tpm();
    assert_eq!(attest.wants_quote(at(0)), Some(&[9; 12][..]));
    assert_eq!(attest.wants_quote(at(99)), None, "it is asked once");
    assert_eq!(attest.deadline(), None);
    attest.on_quote(at(1), Ok(tpm_quote()));
    assert_eq!((attest.state(), attest.due(at(1))), (AttestState::AttestWait, Some(Ask::Quote)));
    assert_eq!(attest.quote(), Some(&tpm_quote()));
    attest.sent(Ask::Quote);
    attest
}

fn accepted_with(key: Option<EscrowedKey>) -> Option<Response> {
    Some(Response::Accepted { integrity_token: b"token".to_vec(), key, other_pcrs: false })
}

/// It is no reason to refuse the rest of the answer.
#[test]
fn other_pcrs_for_the_key_are_told_and_not_taken() {
    let mut attest = quoting_with_tpm();
    attest.on_escrow(at(1), Escrow::Ready(key(1)));
    assert!(!attest.other_pcrs_told);
    let answer =
        Response::Accepted { integrity_token: b"token".to_vec(), key: Some(key(2)), other_pcrs: true };
    attest.on_answer(at(2), Ask::Quote, success(), Some(answer));
    assert!(attest.other_pcrs_told);
    assert_eq!((attest.state(), attest.error()), (AttestState::AttestEscrowWait, None));
    assert_eq!(attest.take_returned(), Some(Some(key(2))));
}

#[test]
fn with_a_tpm_the_storages_key_goes_to_the_controller() {
    let mut attest = quoting_with_tpm();
    attest.on_escrow(at(1), Escrow::Ready(key(1)));
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
    assert_eq!((attest.state(), attest.due(at(2))), (AttestState::AttestEscrowWait, Some(Ask::Keys)));
    assert_eq!((attest.token(), attest.settled()), (&b"token"[..], true));
    assert_eq!(attest.take_returned(), Some(None));
    assert_eq!(attest.take_returned(), None, "it is handed over once");
    attest.sent(Ask::Keys);
    attest.on_answer(at(3), Ask::Keys, success(), Some(Response::KeysStored));
    assert_eq!((attest.state(), attest.deadline()), (AttestState::Complete, None));
}

#[test]
fn a_locked_storage_is_waited_for_after_its_key_came_back() {
    let mut attest = quoting_with_tpm();
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(Some(key(7))));
    assert_eq!((attest.state(), attest.deadline()), (AttestState::TpmEscrowWait, None));
    assert_eq!(attest.take_returned(), Some(Some(key(7))));
    assert!(attest.settled(), "the configuration does not wait for it");
    attest.on_escrow(at(5), Escrow::Pending);
    assert_eq!(attest.state(), AttestState::TpmEscrowWait);
    attest.on_escrow(at(6), Escrow::Ready(key(8)));
    assert_eq!((attest.due(at(6)), attest.key()), (Some(Ask::Keys), Some(&key(8))));
}

#[test]
fn a_key_that_is_gone_before_it_was_stored_is_not_sent_but_waited_for() {
    let mut attest = quoting_with_tpm();
    attest.on_escrow(at(1), Escrow::Ready(key(1)));
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
    attest.sent(Ask::Keys);
    attest.on_answer(at(3), Ask::Keys, success(), None);
    assert_eq!(attest.deadline(), Some(at(18)));
    // The vault was built anew, and its storage is locked.
    attest.on_escrow(at(4), Escrow::Pending);
    assert_eq!((attest.state(), attest.due(at(18))), (AttestState::TpmEscrowWait, None));
    attest.on_escrow(at(20), Escrow::Ready(key(1)));
    assert_eq!((attest.state(), attest.due(at(20))), (AttestState::AttestEscrowWait, Some(Ask::Keys)));
    attest.on_escrow(at(21), Escrow::None);
    assert_eq!((attest.state(), attest.due(at(40))), (AttestState::Complete, None));
}

#[test]
fn a_tpm_that_does_not_quote_is_asked_again() {
    let mut attest = asking_the_tpm();
    assert!(attest.wants_quote(at(0)).is_some());
    attest.on_quote(at(1), Err("busy".into()));
    assert_eq!(
        (attest.state(), attest.error()),
        (AttestState::TpmQuoteWait, Some(&AttestError::NoQuote("busy".into())))
    );
    assert_eq!(attest.wants_quote(at(15)), None);
    assert_eq!(attest.deadline(), Some(at(16)));
    assert_eq!(attest.wants_quote(at(16)), Some(&[9; 12][..]));
}

#[test]
fn a_quote_that_comes_after_its_round_counts_for_nothing() {
    let mut attest = asking_the_tpm();
    attest.begin(at(1));
    attest.on_quote(at(1), Ok(tpm_quote()));
    assert_eq!((attest.state(), attest.quote()), (AttestState::None, None));
}

#[test]
fn a_refused_quote_takes_the_token_and_the_quote_with_it() {
    for rejection in [Rejection::NonceMismatch, Rejection::NoCertFound, Rejection::QuoteFailed] {
        let mut attest = quoting_with_tpm();
        attest.on_answer(at(1), Ask::Quote, success(), Some(Response::Rejected(rejection)));
        assert_eq!((attest.state(), attest.token()), (AttestState::RestartWait, &b""[..]));
        let certs_first = rejection == Rejection::NoCertFound;
        assert_eq!(attest.due(at(1)) == Some(Ask::Certs), certs_first);
        attest.sent(Ask::Nonce);
        assert_eq!(attest.quote(), None);
    }
}

#[test]
fn a_key_that_was_not_stored_is_sent_again() {
    let mut attest = quoting_with_tpm();
    attest.on_escrow(at(1), Escrow::Ready(key(1)));
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
    for answer in [None, Some(Response::KeysRefused), Some(Response::Certs)] {
        attest.sent(Ask::Keys);
        assert_eq!(attest.due(at(99)), None);
        attest.on_answer(at(3), Ask::Keys, success(), answer);
        assert_eq!(attest.state(), AttestState::AttestEscrowWait);
        assert_eq!((attest.due(at(17)), attest.due(at(18))), (None, Some(Ask::Keys)));
    }
}

#[test]
fn another_token_at_the_controller_begins_a_new_round() {
    let mut attest = quoting_with_tpm();
    attest.on_escrow(at(1), Escrow::Ready(key(1)));
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
    attest.sent(Ask::Keys);
    attest.on_answer(at(3), Ask::Keys, success(), Some(Response::WrongToken));
    assert_eq!((attest.state(), attest.token()), (AttestState::RestartWait, &b""[..]));
    assert_eq!(attest.error(), Some(&AttestError::WrongToken));
    assert_eq!((attest.due(at(17)), attest.due(at(18))), (None, Some(Ask::Nonce)));
}

#[test]
fn a_device_whose_storage_stays_locked_attests_again_when_asked_to() {
    let mut attest = quoting_with_tpm();
    attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
    assert_eq!(attest.state(), AttestState::TpmEscrowWait);
    attest.restart(at(3));
    assert_eq!((attest.state(), attest.due(at(18))), (AttestState::RestartWait, Some(Ask::Nonce)));
}

/// What every answer does in every state, in which it may come late.
#[test]
fn answers_of_another_state_change_nothing() {
    let answers = || {
        [
            None,
            Some(Response::Certs),
            Some(Response::Nonce(vec![1; 12])),
            accepted_with(Some(key(1))),
            Some(Response::Rejected(Rejection::QuoteFailed)),
            Some(Response::KeysStored),
            Some(Response::WrongToken),
            Some(Response::KeysRefused),
        ]
    };
    type Make = fn() -> Attest;
    let states: [(Make, Option<Ask>); 5] = [
        (Attest::new, None),
        (asking_the_tpm, None),
        (quoting_with_tpm, Some(Ask::Quote)),
        (
            || {
                let mut attest = quoting_with_tpm();
                attest.on_answer(at(2), Ask::Quote, success(), accepted_with(None));
                attest
            },
            None,
        ),
        (
            || {
                let mut attest = quoting();
                attest.on_answer(at(2), Ask::Quote, success(), accepted());
                attest
            },
            None,
        ),
    ];
    for (make, awaited) in states {
        for ask in [Ask::Nonce, Ask::Quote, Ask::Keys] {
            for answer in answers() {
                let mut attest = make();
                let before = (attest.state(), attest.token().to_vec(), attest.deadline());
                attest.on_answer(at(50), ask, success(), answer);
                if awaited != Some(ask) {
                    assert_eq!(before, (attest.state(), attest.token().to_vec(), attest.deadline()));
                }
            }
        }
    }
}

#[test]
fn a_key_that_the_vault_gave_before_there_were_certificates_is_not_forgotten() {
    let mut attest = Attest::new();
    attest.on_escrow(at(0), Escrow::Ready(key(1)));
    attest.equip(true, true);
    assert!(attest.key().is_some());
    attest.equip(true, false);
    assert!(attest.key().is_none(), "without a TPM there is none");
    let mut attest = Attest::new();
    attest.equip(true, true);
    assert_eq!(attest.escrow, Escrow::Pending);
}
