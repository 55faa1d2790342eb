//! The worker: makes what tasks ask for, and gives back what those that fail were charged. It may run in another process
//! than the API, and knows neither users' keys nor limits: a task's receipt says all.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rebate::{AnyStore, Error, Limiter};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::settings::Settings;
use crate::tasks::{State, Task, Tasks};

/// How often it looks for tasks that wait, and for those that are stuck or not given back yet.
const LOOK: Duration = Duration::from_millis(20);
const SWEEP: Duration = Duration::from_secs(1);
/// How many tasks it works on at once.
const AT_ONCE: usize = 16;

/// What works on tasks.
pub(crate) struct Worker {
    limiter: Limiter<AnyStore>,
    tasks: Arc<Tasks>,
    work_time: Duration,
    stuck_after: Duration,
}

/// Why a task fails.
enum Fault {
    System,
    User,
}

/// What one sweep did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) stuck: usize,
    pub(crate) settled: usize,
    pub(crate) failed: usize,
}

impl Worker {
    pub(crate) fn new(limiter: Limiter<AnyStore>, tasks: Arc<Tasks>, settings: &Settings) -> Arc<Self> {
        let Settings { work_time, stuck_after, .. } = *settings;
        Arc::new(Worker { limiter, tasks, work_time, stuck_after })
    }

    /// Works and sweeps until it is dropped. A task that is left unfinished then is given back by the next sweep that
    /// finds it stuck, in whichever process.
    pub(crate) async fn run(self: Arc<Self>) {
        let (mut look, mut sweep) = (interval(LOOK), interval(SWEEP));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            let outcome = tokio::select! {
                _ = look.tick() => self.take(&mut under_way),
                _ = sweep.tick() => self.sweep().await.map(drop),
                Some(_) = under_way.join_next() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "tasks cannot be looked at");
            }
        }
    }

    fn take(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> io::Result<()> {
        while under_way.len() < AT_ONCE
            && let Some(task) = self.tasks.take()?
        {
            let worker = Arc::clone(self);
            under_way.spawn(async move {
                if let Err(error) = worker.work(&task).await {
                    tracing::error!(task = task.id, %error, "a task's end cannot be noted");
                }
            });
        }
        Ok(())
    }

    async fn work(&self, task: &Task) -> io::Result<()> {
        match make(&task.prompt, self.work_time).await {
            Ok(()) => self.tasks.end(task, State::Done).map(drop),
            Err(Fault::User) => self.tasks.end(task, State::Rejected).map(drop),
            Err(Fault::System) => {
                // First the note that it is owed, then the refund, which may be repeated: whatever process is killed
                // between the two, the next sweep gives back what is missing, and no unit twice.
                if self.tasks.end(task, State::Failed)? {
                    self.give_back(task).await?;
                }
                Ok(())
            }
        }
    }

    /// Gives up tasks that are stuck, and gives back what is owed.
    pub(crate) async fn sweep(&self) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for task in self.tasks.stuck(self.stuck_after)? {
            if self.tasks.end(&task, State::Failed)? {
                tracing::warn!(task = task.id, seconds = task.age().as_secs(), "a task is stuck");
                swept.stuck += 1;
            }
        }
        for task in self.tasks.owed()? {
            if self.give_back(&task).await? {
                swept.settled += 1;
            } else {
                swept.failed += 1;
            }
        }
        Ok(swept)
    }

    /// Refunds what a task was charged; answers whether that is settled.
    async fn give_back(&self, task: &Task) -> io::Result<bool> {
        let id = &task.id;
        let outcome = match self.refund(task).await {
            Ok(outcome) => outcome,
            // It is repeated with the next sweep.
            Err(error) if error.is_retryable() => {
                tracing::error!(task = id, %error, "refund failed");
                count("failed");
                return Ok(false);
            }
            // Nothing would come of repeating it.
            Err(error) => {
                tracing::error!(task = id, %error, "refund failed for good");
                "failed"
            }
        };
        count(outcome);
        self.tasks.refunded(task).map(|()| true)
    }

    async fn refund(&self, task: &Task) -> Result<&'static str, Error> {
        let Some(token) = &task.receipt else {
            tracing::warn!(task = task.id, "a refund was asked for with nothing charged");
            return Ok("not_charged");
        };
        let mut receipt = self.limiter.receipt(token)?;
        let refund = self.limiter.refund(&mut receipt).await?;
        tracing::debug!(task = task.id, given_back = refund.given_back(), expired = refund.any_expired(), "refunded");
        Ok(match refund.given_back() {
            0 if refund.any_expired() => "expired",
            0 => "nothing",
            _ => "done",
        })
    }
}

/// Beside the layer's own numbers, under the same name.
fn count(outcome: &'static str) {
    metrics::counter!("rebate_refunds_total", "cause" => "task", "outcome" => outcome).increment(1);
}

/// Stands for the machine that makes images. So that everything can be tried, some prompts fail.
async fn make(prompt: &str, time: Duration) -> Result<(), Fault> {
    tokio::time::sleep(time).await;
    match prompt {
        "fail" => Err(Fault::System),
        "reject" => Err(Fault::User),
        "hang" => std::future::pending().await,
        _ => Ok(()),
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stuck, {} settled, {} not refunded", self.stuck, self.settled, self.failed)
    }
}
