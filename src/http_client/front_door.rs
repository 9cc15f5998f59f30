//! Asking a front door of the application, as its users do: once, and again and again while something changes.

use super::prometheus::cause;
use crate::cluster::error::ClusterError;
use crate::domain::front_door::{FrontDoorSample, FrontDoorStats, FrontDoorSummary};
use reqwest::{Client, Response, Url, header, redirect};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time for one answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Between the beginnings of two asks.
const PACE: Duration = Duration::from_millis(250);
/// Of a body no more is read than this.
const LARGEST: usize = 64 << 10;

/// The doors of a run.
#[derive(Debug)]
pub struct FrontDoors {
    client: Client,
    urls: Vec<Url>,
}

impl FrontDoors {
    /// Makes the client: every request on a connection of its own, since one that was opened before a switch lives on
    /// past it; and no redirects, which would ask another door.
    pub fn new(urls: &[Url]) -> Result<Self, ClusterError> {
        let client = Client::builder()
            .timeout(LIMIT)
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("secure-traffic/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClusterError {
                message: format!("no front door can be asked: {}", cause(&error)),
                hint: None,
            })?;
        Ok(Self { client, urls: urls.to_vec() })
    }

    /// Asks each of them once; an error says why there was no answer.
    pub async fn ask(&self) -> Vec<Result<(), String>> {
        futures::future::join_all(self.urls.iter().map(|url| ask(&self.client, url))).await
    }

    /// Goes on asking in the background, until the watch is dropped.
    pub fn watch(self) -> Watch {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        let stats = self.urls.into_iter().map(|url| {
            let (sender, stats) = watch::channel(FrontDoorStats::default());
            tasks.spawn(keep_asking(self.client.clone(), url, began, sender));
            stats
        });
        Watch { began, stats: stats.collect(), _tasks: tasks }
    }
}

/// Doors that are being asked.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    stats: Vec<watch::Receiver<FrontDoorStats>>,
    /// Aborted when it is dropped.
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Waits until it can be told of every door how it is now.
    pub async fn certain(&self) {
        let moment = self.began.elapsed();
        let all = self.stats.iter().map(|stats| {
            let mut stats = stats.clone();
            async move {
                // An error would say that the task is gone, and that there is nothing to wait for.
                let _ = stats.wait_for(|stats| stats.is_certain_after(moment)).await;
            }
        });
        futures::future::join_all(all).await;
    }

    /// What each door came to so far, in the order of their addresses.
    pub fn summaries(&self) -> Vec<FrontDoorSummary> {
        self.stats.iter().map(|stats| stats.borrow().summary()).collect()
    }
}

/// The address as it may be shown: a query can hold a secret.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.into()
}

async fn keep_asking(client: Client, url: Url, began: Instant, stats: watch::Sender<FrontDoorStats>) {
    let mut ticks = interval(PACE);
    // A slow answer moves those after it: a burst would be no picture of anybody's traffic.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = began.elapsed();
        let failure = ask(&client, &url).await.err();
        let ended = began.elapsed();
        stats.send_modify(|stats| stats.record(FrontDoorSample { asked, ended, failure }));
    }
}

/// Asks once. Whatever the application says is an answer; a 5xx is what a proxy says in its place.
async fn ask(client: &Client, url: &Url) -> Result<(), String> {
    let request = client.get(url.clone()).header(header::CONNECTION, "close");
    let response = request.send().await.map_err(|error| words(&error))?;
    let status = response.status();
    if status.is_server_error() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    drain(response).await;
    Ok(())
}

/// Reads the body, so that the server meets a client like others. Its end tells nothing: many servers mark it by closing
/// the connection, which looks like a failure to a strict reader, and a stream has none.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read >= LARGEST {
            break;
        }
    }
}

fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() { format!("no answer within {} s", LIMIT.as_secs()) } else { cause(error) }
}
