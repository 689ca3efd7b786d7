//! What is heard of a judge's child.

use std::process::ExitStatus;

use super::verdict::Verdict;
use super::wire::{Said, Saying};
use crate::core::text::shown;

/// What was heard of a child.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What came over the channel and is not a whole line yet.
    pub(super) unread: Vec<u8>,
    /// How much came over it.
    pub(super) bytes: usize,
    /// The last step that it said it begins.
    pub(super) step: String,
    pub(super) verdict: Option<Verdict>,
    /// The end of what came on its standard error.
    pub(super) stderr: Vec<u8>,
    /// Its time was up before it ended.
    pub(super) timed_out: bool,
    pub(super) status: Option<ExitStatus>,
}

impl Heard {
    /// Takes what came over the channel. Lines without the nonce are not the judge's, and nothing.
    pub(super) fn take(&mut self, bytes: &[u8], nonce: &str) {
        self.bytes += bytes.len();
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice::<Said>(&line) {
                Ok(Said { nonce: said, what: Saying::Step(step) }) if said == nonce => self.step = shown(step),
                Ok(Said { nonce: said, what: Saying::Verdict(verdict) }) if said == nonce => {
                    let message = shown(&verdict.message);
                    self.verdict.get_or_insert(Verdict { message, ..verdict });
                }
                _ => {}
            }
        }
    }
}
