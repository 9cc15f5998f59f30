//! `--check-url`: requests URLs of the application as its users do, once before a change and continuously during it.

use super::client;
use super::prometheus::cause;
use crate::cluster::error::ClusterError;
use crate::cluster::http_proxy::ProxyVariables;
use crate::domain::front_door::{self, FrontDoorSample, FrontDoorStats, FrontDoorSummary};
use reqwest::{Client, Response, Url, header, redirect};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time for one response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time between the starts of two requests.
const PACE: Duration = Duration::from_millis(250);
/// Most bytes of a body that are read.
const MAX_BODY: usize = 64 << 10;

/// The URLs of a run, with their clients.
#[derive(Debug)]
pub struct FrontDoors {
    doors: Vec<(Client, Url)>,
}

impl FrontDoors {
    /// Creates the clients. Every request has a connection of its own, because a connection from before the change survives
    /// it. Redirects are not followed, because they lead to other URLs.
    pub fn new(urls: &[Url], proxies: &ProxyVariables) -> Result<Self, ClusterError> {
        let door = |url: &Url| {
            let client = client::builder(url, proxies)?
                .timeout(TIMEOUT)
                .pool_max_idle_per_host(0)
                .redirect(redirect::Policy::none())
                .user_agent(concat!("secure-traffic/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| ClusterError {
                    message: format!("no front door can be asked: {}", cause(&error)),
                    hint: None,
                })?;
            Ok((client, url.clone()))
        };
        Ok(Self { doors: urls.iter().map(door).collect::<Result<_, ClusterError>>()? })
    }

    /// Requests each URL once, and returns the status of each. An error is the reason why there was no answer.
    pub async fn request(&self) -> Vec<Result<u16, String>> {
        futures::future::join_all(self.doors.iter().map(|(client, url)| request(client, url, None))).await
    }

    /// Requests each URL continuously in the background, until the watch is finished or dropped. `before` has the status
    /// of each URL before the change, if it answered: a worse one is a failure.
    pub fn start(self, before: &[Option<u16>]) -> FrontDoorWatch {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let stats = self.doors.into_iter().zip(before).map(|((client, url), before)| {
            let (sender, stats) = watch::channel(FrontDoorStats::default());
            tasks.spawn(poll(client, url, *before, start, sender));
            stats
        });
        FrontDoorWatch { start, stats: stats.collect(), _tasks: tasks }
    }
}

/// URLs that are requested in the background.
#[derive(Debug)]
pub struct FrontDoorWatch {
    start: Instant,
    stats: Vec<watch::Receiver<FrontDoorStats>>,
    /// Aborted when it is dropped.
    _tasks: JoinSet<()>,
}

impl FrontDoorWatch {
    /// Waits until the current state of every URL is certain.
    pub async fn certain(&self) {
        let moment = self.start.elapsed();
        let all = self.stats.iter().map(|stats| {
            let mut stats = stats.clone();
            async move {
                // An error means that the task has ended, so there is nothing to wait for.
                let _ = stats.wait_for(|stats| stats.is_certain_after(moment)).await;
            }
        });
        futures::future::join_all(all).await;
    }

    /// Stops the requests and returns the summary of each URL, in their order.
    pub fn finish(self) -> Vec<FrontDoorSummary> {
        self.stats.iter().map(|stats| stats.borrow().summary()).collect()
    }
}

async fn poll(client: Client, url: Url, before: Option<u16>, start: Instant, stats: watch::Sender<FrontDoorStats>) {
    let mut ticks = interval(PACE);
    // A slow response delays the next request; a burst would not resemble the traffic of users.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = start.elapsed();
        let failure = request(&client, &url, before).await.err();
        let ended = start.elapsed();
        stats.send_modify(|stats| stats.record(FrontDoorSample { asked, ended, failure }));
    }
}

/// Sends one request, and returns the status of its response. An error is why it counts as failed.
async fn request(client: &Client, url: &Url, before: Option<u16>) -> Result<u16, String> {
    let get = client.get(url.clone()).header(header::CONNECTION, "close");
    let response = get.send().await.map_err(|error| failure_text(&error))?;
    let status = response.status().as_u16();
    if let Some(failure) = front_door::failure(status, before) {
        return Err(failure);
    }
    drain(response).await;
    Ok(status)
}

/// Reads the body, as other clients do. Its end is not checked: many servers end it by closing the connection, which a
/// strict reader reports as an error, and a stream does not end.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read >= MAX_BODY {
            break;
        }
    }
}

fn failure_text(error: &reqwest::Error) -> String {
    if error.is_timeout() { format!("no answer within {} s", TIMEOUT.as_secs()) } else { cause(error) }
}
