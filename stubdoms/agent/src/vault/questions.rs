//! What is under way to the vault: one question of the agent's, and one signature that is waited for.
//!
//! Each takes the place of the one before of its kind, which nobody waits for any more; so a vault that is silent, late
//! or ended takes up no place for good. An answer that comes too late reaches nobody.

use alloc::collections::VecDeque;

use proto_svc::{
    asks::{Asks, NotAsked},
    vault::{Answer, Request, ToVault},
};

use super::VaultEvent;

/// Questions that are waited for at a time.
const PLACES: usize = 2;

/// Questions and answers, for the shell that has the channel.
#[derive(Debug, Default)]
pub struct VaultQuestions {
    asks: Asks<Request, PLACES>,
    /// The agent's question.
    agents: Option<u32>,
    /// The signature that is waited for, and the answer once it is here.
    signature: Option<(u32, Option<Answer>)>,
    /// A signature was waited for in vain, and nothing was heard since.
    mute: bool,
    /// What came and is for the agent.
    inbox: VecDeque<VaultEvent>,
}

impl VaultQuestions {
    /// Asks for something, for the agent, which has one question under way: the one before it has given up.
    pub fn ask(&mut self, request: Request) {
        if let Some(before) = self.agents.take() {
            self.asks.give_up(before);
        }
        self.inbox.retain(|event| !matches!(event, VaultEvent::Answer(_)));
        self.agents = self.asks.push(request);
    }

    /// Asks for a signature, which is waited for until it is given up.
    pub fn sign(&mut self, digest: &[u8; 32]) {
        self.give_up_signature();
        self.signature = self.asks.push(Request::Sign { digest: *digest }).map(|number| (number, None));
    }

    /// The answer to [`sign`](Self::sign), once.
    pub fn take_signature(&mut self) -> Option<Answer> {
        let (_, answer) = self.signature.take_if(|(_, answer)| answer.is_some())?;
        answer
    }

    /// Nobody waits for the signature any more.
    pub fn give_up_signature(&mut self) {
        if let Some((number, _)) = self.signature.take() {
            self.asks.give_up(number);
            self.mute = true;
        }
    }

    /// Whether a signature was waited for in vain, and the vault has said nothing since: it may have ended.
    pub fn is_mute(&self) -> bool {
        self.mute
    }

    /// What is to be sent next; [`sent`](Self::sent) once it was.
    pub fn unsent(&self) -> Option<ToVault> {
        self.asks.unsent().map(|(number, request)| ToVault::Ask { number, request: request.clone() })
    }

    /// That was sent.
    pub fn sent(&mut self) {
        self.asks.sent();
    }

    /// An answer came.
    ///
    /// # Errors
    /// [`NotAsked`]: the vault breaks the protocol.
    pub fn answered(&mut self, number: u32, answer: Answer) -> Result<(), NotAsked> {
        let asked = self.asks.answered(number)?;
        self.mute = false;
        if asked.is_none() {
            return Ok(());
        }
        match &mut self.signature {
            Some((waited, place)) if *waited == number => *place = Some(answer),
            _ => {
                self.agents = None;
                self.inbox.push_back(VaultEvent::Answer(answer));
            }
        }
        Ok(())
    }

    /// The vault says that its state has changed.
    pub fn changed(&mut self) {
        self.mute = false;
        // Said once it means the same as said often.
        if !self.inbox.contains(&VaultEvent::Changed) {
            self.inbox.push_back(VaultEvent::Changed);
        }
    }

    /// Whether something is for the agent.
    pub fn has_events(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// What is for the agent.
    pub fn take_event(&mut self) -> Option<VaultEvent> {
        self.inbox.pop_front()
    }

    /// Another life of the vault is there, and is asked what is still waited for.
    pub fn begin_again(&mut self) {
        self.asks.begin_again();
        self.mute = false;
    }
}

#[cfg(test)]
mod tests {
    use proto_svc::vault::KeyName;

    use super::*;

    /// Sends all there is; the numbers.
    fn send(questions: &mut VaultQuestions) -> alloc::vec::Vec<u32> {
        core::iter::from_fn(|| {
            let Some(ToVault::Ask { number, .. }) = questions.unsent() else { return None };
            questions.sent();
            Some(number)
        })
        .collect()
    }

    #[test]
    fn signatures_that_come_too_late_or_never_stop_nothing() {
        let mut questions = VaultQuestions::default();
        let mut late = alloc::vec::Vec::new();
        for digest in 0..20 {
            questions.sign(&[digest; 32]);
            late.extend(send(&mut questions));
            assert_eq!(questions.take_signature(), None);
            questions.give_up_signature();
        }
        questions.ask(Request::Status);
        let [asked] = send(&mut questions)[..] else { panic!("the agent's question is sent") };
        // The vault wakes up, and answers all of it.
        for number in late {
            assert_eq!(questions.answered(number, Answer::Signature([1; 32], [2; 32])), Ok(()));
            assert_eq!((questions.take_signature(), questions.take_event()), (None, None));
        }
        assert_eq!(questions.answered(asked, Answer::Done), Ok(()));
        assert_eq!(questions.take_event(), Some(VaultEvent::Answer(Answer::Done)));
        questions.sign(&[9; 32]);
        let [asked] = send(&mut questions)[..] else { panic!("the signature is asked for") };
        questions.answered(asked, Answer::Signature([3; 32], [4; 32])).unwrap();
        assert_eq!(questions.take_signature(), Some(Answer::Signature([3; 32], [4; 32])));
        assert_eq!(questions.take_event(), None);
    }

    #[test]
    fn a_vault_is_mute_from_a_signature_that_was_waited_for_in_vain_to_its_next_word() {
        let mut questions = VaultQuestions::default();
        let in_vain = |questions: &mut VaultQuestions| {
            questions.sign(&[1; 32]);
            let [number] = send(questions)[..] else { panic!("the signature is asked for") };
            questions.give_up_signature();
            assert!(questions.is_mute());
            number
        };
        let late = in_vain(&mut questions);
        questions.answered(late, Answer::Signature([1; 32], [2; 32])).unwrap();
        assert!(!questions.is_mute(), "it was late");
        in_vain(&mut questions);
        questions.changed();
        assert!(!questions.is_mute());
        in_vain(&mut questions);
        questions.begin_again();
        assert!(!questions.is_mute(), "another one is there");
        // One that is answered in time is not given up.
        questions.sign(&[1; 32]);
        let [number] = send(&mut questions)[..] else { panic!("the signature is asked for") };
        questions.answered(number, Answer::Signature([1; 32], [2; 32])).unwrap();
        assert!(questions.take_signature().is_some());
        questions.give_up_signature();
        assert!(!questions.is_mute());
    }

    #[test]
    fn what_the_agent_has_given_up_is_not_taken_for_what_it_asks_next() {
        let mut questions = VaultQuestions::default();
        questions.ask(Request::Status);
        let [first] = send(&mut questions)[..] else { panic!() };
        // It is answered, and given up before the agent hears of it.
        questions.answered(first, Answer::Done).unwrap();
        questions.changed();
        questions.changed();
        questions.ask(Request::Public(KeyName::Device));
        assert_eq!(questions.take_event(), Some(VaultEvent::Changed));
        assert!(!questions.has_events());
        let [second] = send(&mut questions)[..] else { panic!() };
        questions.ask(Request::Kept);
        let [third] = send(&mut questions)[..] else { panic!() };
        questions.answered(second, Answer::Done).unwrap();
        assert!(!questions.has_events());
        questions.answered(third, Answer::Done).unwrap();
        assert!(questions.has_events());
        assert_eq!(questions.answered(third, Answer::Done), Err(NotAsked));
    }

    #[test]
    fn a_vault_that_is_there_anew_is_asked_what_is_still_waited_for() {
        let mut questions = VaultQuestions::default();
        for _ in 0..8 {
            questions.sign(&[1; 32]);
            send(&mut questions);
            questions.give_up_signature();
        }
        questions.ask(Request::Status);
        send(&mut questions);
        questions.begin_again();
        let [asked] = send(&mut questions)[..] else { panic!("the agent's question and no other") };
        assert_eq!(questions.answered(asked, Answer::Done), Ok(()));
        assert!(questions.has_events());
    }
}
