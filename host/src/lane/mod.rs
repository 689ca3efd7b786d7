//! Lanes: where plugin code runs. A pipeline (filters, then a policy) is the same in every lane.

mod pipeline;
mod thread;

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use policy_plugin_api::abi::Proposal;
use policy_plugin_api::assemble::Round;
use policy_plugin_api::block::Block;

pub(crate) use pipeline::{FilterInstance, Pipeline, PolicyInstance, ScoreInstance, Scored, limited_view};
pub(crate) use thread::stuck_threads;

use crate::activation::LaneKind;
use crate::guard::Fault;
use thread::Runner;

/// The limits that the filters of a round set, once they have: `Some(None)` is "unrestricted".
pub(crate) type LimitsCell = OnceLock<Option<Arc<Block>>>;

/// A pipeline where it runs.
#[derive(Debug)]
pub(crate) enum Lane {
    /// On the caller's task.
    Inline(Arc<Pipeline>),
    /// On a thread of its own.
    Thread(Runner, Arc<Pipeline>),
}

/// What a lane gives back: the answer, and the limits that it must respect.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) answer: Result<Proposal, Fault>,
    /// `None` when the filters did not come to a decision: then nothing may be bound.
    pub(crate) limits: Option<Option<Arc<Block>>>,
}

impl Lane {
    pub(crate) fn new(kind: LaneKind, pipeline: Arc<Pipeline>, thread_name: &str) -> std::io::Result<Self> {
        Ok(match kind {
            LaneKind::Inline => Self::Inline(pipeline),
            LaneKind::Thread => Self::Thread(Runner::start(Arc::clone(&pipeline), thread_name)?, pipeline),
        })
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        match self {
            Self::Inline(pipeline) | Self::Thread(_, pipeline) => pipeline,
        }
    }

    /// Runs one round, within its deadline.
    pub(crate) async fn run(&self, round: &Arc<Round>, observations: Option<Arc<Block>>, deadline: Duration) -> Ran {
        match self {
            Self::Inline(pipeline) => run_inline(pipeline, round, observations, deadline).await,
            Self::Thread(runner, _) => runner.run(round, observations, deadline).await,
        }
    }
}

async fn run_inline(pipeline: &Pipeline, round: &Round, observations: Option<Arc<Block>>, deadline: Duration) -> Ran {
    let limits = LimitsCell::new();
    let mut call = std::pin::pin!(pipeline.run(round, observations.as_deref(), &limits));
    // Most calls are ready at once: no timer for them.
    let first = poll_fn(|cx| {
        Poll::Ready(match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        })
    })
    .await;
    let answer = match first {
        Some(answer) => answer,
        None => tokio::time::timeout(deadline, call)
            .await
            .unwrap_or_else(|_| Err(Fault::inline_deadline(deadline.as_millis() as u64))),
    };
    Ran { answer, limits: limits.get().cloned() }
}
