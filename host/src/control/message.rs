//! What comes to the control task: from the watcher, from embedders, and from the threads that run foreign code.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use policy_plugin_api::abi::manifest::ManifestInfo;
use tokio::sync::oneshot;

use crate::artifact::load::Loaded;
use crate::artifact::watch::Change;
use crate::control::activation::Activation;
use crate::control::admit::{AdmitError, Recipe};
use crate::control::request::Refusal;
use crate::control::tryout::Unfit;
use crate::core::info::ActiveInfo;
use crate::serving::lane::Handed;
use crate::serving::slot::Active;
use crate::state::last_good::LastGood;
use crate::state::receipt::{ClearRequest, DumpReceipt, Quarantined};
use crate::state::trying::UnderTrial;

/// The answer to an embedder's switch.
pub(crate) type Reply = oneshot::Sender<Result<Arc<ActiveInfo>, Refusal>>;

/// See the module.
#[derive(Debug)]
pub(crate) enum Message {
    Change(Change),
    Admission(Box<Admission>),
    Constructed(Box<Constructed>),
    Replaced(Replaced),
    Dumped(Box<Dumped>),
    Restored(Box<Restored>),
    Clear { request: ClearRequest, reply: oneshot::Sender<Vec<Quarantined>> },
    Switch { activation: Activation, asked: Instant, reply: Reply },
    Stop(oneshot::Sender<()>),
}

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) file: String,
    pub(crate) arrival: u64,
    pub(crate) seen_at: Instant,
    pub(crate) generation: u64,
    /// Whether these are the bytes that the file had before, not those that it has now.
    pub(crate) kept: bool,
    pub(crate) result: Result<Examined, RefusedFile>,
}

/// A library that can be used, though perhaps not all of it.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) manifest: ManifestInfo,
    pub(crate) unfit: Vec<Unfit>,
}

/// Why a file was refused.
#[derive(Debug)]
pub(crate) struct RefusedFile {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) sha256: String,
}

/// What became of a construction.
#[derive(Debug)]
pub(crate) struct Constructed {
    pub(crate) generation: u64,
    pub(crate) result: Result<Made, AdmitError>,
}

/// A generation that could be put in service.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) active: Arc<Active>,
    /// What makes its instance again.
    pub(crate) recipe: Recipe,
    /// What its predecessor handed over. As long as it is kept, the predecessor answers no round, so that nothing is
    /// learnt there that would be lost.
    pub(crate) handed: Option<Handed>,
    /// It goes on until the generation has answered.
    pub(crate) trial: Option<UnderTrial>,
}

/// What became of another instance for a generation in service.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) generation: u64,
    /// `false` where there is no place for it any more.
    pub(crate) result: Result<bool, AdmitError>,
}

/// What became of a dump.
#[derive(Debug)]
pub(crate) struct Dumped {
    pub(crate) policy: String,
    pub(crate) generation: u64,
    pub(crate) written: io::Result<DumpReceipt>,
}

/// The libraries of the last good composition, examined anew.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) good: LastGood,
    pub(crate) why: &'static str,
    pub(crate) libraries: Vec<Result<Examined, RefusedFile>>,
}
