//! The course of a question about a caller: at once if it can be, else by way of a thread.

use std::os::fd::OwnedFd;

use reverie_core::ipc::warden::{Facts, Reply};

use super::digest::{Digests, Version};
use super::facts::{self, Look, Subject, Wait};
use super::failure::Failure;
use super::{Warden, jobs};
use crate::ops::channel::{ChannelError, Replies};

/// A question on its way, wherever it is worked on.
struct Question {
    id: u64,
    subject: Subject,
    digest_exe: bool,
    digests: Digests,
    replies: Replies<Reply>,
}

impl Warden {
    /// Answers [`Request::Facts`](reverie_core::ipc::warden::Request::Facts).
    pub(super) fn attest(&self, id: u64, descriptors: Vec<OwnedFd>, digest_exe: bool) -> Result<(), ChannelError> {
        let subject = match Subject::new(descriptors) {
            Ok(subject) => subject,
            Err(failure) => return self.replies.send(id, &failure.into()),
        };
        let question = Question { id, subject, digest_exe, digests: self.digests.clone(), replies: self.replies.clone() };
        match facts::look(&question.subject, Wait::Never) {
            Ok(Look::WouldWait { uid }) => match self.slow_looks.take(uid) {
                Ok(place) => {
                    let started = place.start("look", move || question.look_and_answer(Wait::Allowed));
                    return started.or_else(|failure| self.replies.send(id, &failure.into()));
                }
                Err(error) => {
                    tracing::warn!(uid, ?error, "a caller's executable is not looked for");
                    question.look_and_answer(Wait::GiveUp);
                }
            },
            look => question.go_on(look),
        }
        Ok(())
    }
}

impl Question {
    fn look_and_answer(self, wait: Wait) {
        let look = facts::look(&self.subject, wait);
        self.go_on(look);
    }

    fn go_on(self, look: Result<Look, Failure>) {
        match look {
            Ok(Look::Complete(facts, version)) => self.digest_then_answer(facts, version),
            Ok(Look::WouldWait { .. }) => self.answer(Failure::from("could not resolve the path of the running file").into()),
            Err(failure) => self.answer(failure.into()),
        }
    }

    fn digest_then_answer(self, facts: Facts, version: Option<Version>) {
        match version {
            Some(version) if self.digest_exe => match self.subject.pin_exe(&version) {
                Ok(file) => {
                    let uid = facts.credentials.uid;
                    self.digests.clone().find(version, file, uid, move |digest| self.answer_with_digest(facts, digest));
                }
                Err(failure) => self.answer_if_alive(failure.into()),
            },
            _ => self.answer(Reply::Facts(facts)),
        }
    }

    fn answer_with_digest(self, mut facts: Facts, digest: Option<String>) {
        if let Some(exe) = &mut facts.exe {
            exe.sha256 = digest;
        }
        self.answer_if_alive(Reply::Facts(facts));
    }

    /// The running file was reached through the pid once more, so its owner must still be alive now.
    fn answer_if_alive(self, reply: Reply) {
        let reply = self.subject.check_alive().map_or_else(Reply::from, |()| reply);
        self.answer(reply);
    }

    fn answer(self, reply: Reply) {
        jobs::answer(&self.replies, self.id, &reply);
    }
}
