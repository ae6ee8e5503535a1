//! One batch of records, fetched side by side and spooled as they come.

use crate::call_id::CallId;
use crate::error::{Error, Result};
use crate::graph::{Client, Outcome};
use crate::shutdown::Shutdown;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

/// Different ids in a row that answer 403 before the permission is doubted.
const FORBIDDEN_IN_A_ROW: usize = 20;
/// How long requests under way may take after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// When a batch ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// When the batch is closed.
    pub close_at: Instant,
    /// When the run ends.
    pub deadline: Option<Instant>,
}

/// Fetches ids from the front of `queue` and gives each answer to `sink`.
/// Ids that were not asked for stay in `queue`.
///
/// # Errors
/// What ends the run. Answers that came before were given to `sink`.
pub async fn fetch(
    client: &Client,
    queue: &mut VecDeque<CallId>,
    limits: Limits,
    shutdown: &mut Shutdown,
    mut sink: impl FnMut(CallId, Outcome) -> Result<()>,
) -> Result<()> {
    let mut under_way = JoinSet::new();
    let mut asked = Vec::new();
    let mut begun = 0;
    let mut refused: BTreeSet<CallId> = BTreeSet::new();
    let mut is_served = false;
    let mut failure = None;
    let mut grace: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let stopped = shutdown.is_requested() || failure.is_some();
        let open = !stopped && now < limits.close_at && limits.deadline.is_none_or(|deadline| now < deadline);
        while open && begun < limits.records && under_way.len() < client.concurrency() {
            let Some(id) = queue.pop_front() else { break };
            let client = client.clone();
            asked.push(id);
            let fetch = async move { (id, client.call_record_in_room(id).await) };
            under_way.spawn(fetch.in_current_span());
            begun += 1;
        }
        if stopped {
            grace.get_or_insert(now + GRACE);
        }
        let cut = [grace, limits.deadline].into_iter().flatten().min();
        let next = tokio::select! {
            next = under_way.join_next() => next,
            () = shutdown.requested(), if !stopped => continue,
            () = sleep_until(cut), if cut.is_some() => {
                under_way.abort_all();
                while under_way.join_next().await.is_some() {}
                break;
            }
        };
        let Some(answer) = next else { break };
        let (id, outcome) = match answer {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        asked.retain(|other| *other != id);
        match outcome {
            Err(error) => {
                queue.push_front(id);
                failure.get_or_insert(error);
            }
            // Its room is free again when it is on disk.
            Ok((outcome, _room)) => {
                match &outcome {
                    Outcome::Forbidden => drop(refused.insert(id)),
                    Outcome::Record { .. } => {
                        is_served = true;
                        refused.clear();
                    }
                    Outcome::NotFound => is_served = true,
                    _ => {}
                }
                sink(id, outcome)?;
                if refused.len() >= FORBIDDEN_IN_A_ROW {
                    failure.get_or_insert_with(|| {
                        forbidden(client, &format!("for {FORBIDDEN_IN_A_ROW} call records in a row"))
                    });
                }
            }
        }
    }
    // What was cut off is asked for again, in the order in which it was due.
    for id in asked.into_iter().rev() {
        queue.push_front(id);
    }
    // Of few calls each may be refused for its own sake: a record that nobody has is not.
    let in_doubt = failure.is_none() && !is_served && !refused.is_empty() && !shutdown.is_requested();
    if in_doubt && matches!(client.probe().await?, Outcome::Forbidden) {
        failure = Some(forbidden(client, "for all call records"));
    }
    failure.map_or(Ok(()), Err)
}

fn forbidden(client: &Client, what: &str) -> Error {
    Error::access(format!("Graph answered 403 {what}"))
        .hint(format!("{}; `callrec check` tests it", client.settings().auth.permission_hint()))
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
