//! Follows the logs of sidecars and ztunnels, for a rehearsal. A stream that is cut is opened again where it ended; a part
//! that may be lost is reported.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain};
use super::pod::Pod;
use super::request::attempt;
use super::ztunnel::{Ztunnel, ztunnels};
use crate::domain::mesh::MeshSettings;
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{ListParams, LogParams};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// The container of a sidecar.
const SIDECAR: &str = "istio-proxy";

/// Longest line that is read, in bytes. Envoy accepts headers of 60 KiB, and a line has several of them.
const MAX_LINE: u64 = 512 << 10;

/// How long a log that cannot be opened again is tried.
const REOPEN_LIMIT: Duration = Duration::from_mins(1);

/// Lines at the end of a log that are read before it is followed: more than are written in one moment.
const LAST_LINES: i64 = 20;

/// Pause between two tries.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Where following a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// At the end that the log has now.
    Now,
    /// At the first line, for a pod that has just started.
    First,
}

/// The proxy whose log is followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogSource {
    /// The sidecar of a pod of the namespace.
    Sidecar(String),
    /// The ztunnel of a node.
    Ztunnel(String),
}

/// What following a log yields.
#[derive(Debug)]
pub enum LogEvent {
    /// The log is followed now.
    Opened,
    /// A line, without its timestamp, and when it was written, in microseconds since the epoch.
    Line { at: i64, line: String },
    /// A part of the log may be missing; the reason.
    Incomplete { reason: String },
    /// The log cannot be read at all.
    Failed { error: ClusterError },
    /// The pod has ended, and its log was read to the end.
    Ended,
}

/// Where the events of a log are sent.
pub type LogEvents = Sender<(LogSource, LogEvent)>;

/// Why following a log ends.
enum Stop {
    /// The reader of the events is gone.
    NotRead,
    Ended,
    Incomplete(String),
    Failed(ClusterError),
}

/// Follows the log of a pod's sidecar and sends its lines, until the pod has ended.
pub async fn follow_sidecar(cluster: Cluster, pod: String, beginning: Beginning, events: LogEvents) {
    let follower = Follower {
        api: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        namespace: cluster.namespace,
        container: Some(SIDECAR),
        source: LogSource::Sidecar(pod.clone()),
        pod,
        beginning,
        events,
        last: None,
        is_open: false,
    };
    follower.follow().await;
}

/// Follows the log of a node's ztunnel and sends its lines, until the ztunnel has ended.
pub async fn follow_ztunnel(cluster: Cluster, mesh: MeshSettings, node: String, events: LogEvents) {
    let source = LogSource::Ztunnel(node.clone());
    let reason = match ztunnels(&cluster, &mesh).await {
        Ok(mut found) => match found.by_node.remove(&node) {
            Some(Ztunnel { namespace, pod }) => {
                let api = Api::namespaced(cluster.client, &namespace);
                let (container, beginning) = (None, Beginning::Now);
                let follower =
                    Follower { api, namespace, container, source, pod, beginning, events, last: None, is_open: false };
                return follower.follow().await;
            }
            None => format!("none was found in {} (--ztunnel-namespace names another)", found.place),
        },
        Err(error) => error.message,
    };
    // The reader may be gone.
    let _ = events.send((source, LogEvent::Incomplete { reason })).await;
}

/// The last line that was sent: when it was written, and how many lines in a row were written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    at: Timestamp,
    lines: usize,
}

impl Position {
    /// The position after one more line.
    fn after(last: Option<Self>, at: Timestamp) -> Self {
        match last {
            Some(last) if last.at == at => Self { lines: last.lines + 1, ..last },
            _ => Self { at, lines: 1 },
        }
    }
}

/// The position of the last line of a log; `None` where it has none.
async fn last_position(log: impl AsyncBufRead) -> Option<Position> {
    let mut log = std::pin::pin!(log);
    let mut last = None;
    while let Some(line) = next_line(&mut log).await {
        // The rest of a line that is too long has no time.
        if let Some((at, _)) = line.as_deref().and_then(split_timestamp) {
            last = Some(Position::after(last, at));
        }
    }
    last
}

struct Follower {
    api: Api<Pod>,
    namespace: String,
    pod: String,
    /// `None` for the only one of the pod.
    container: Option<&'static str>,
    source: LogSource,
    beginning: Beginning,
    events: LogEvents,
    last: Option<Position>,
    is_open: bool,
}

impl Follower {
    async fn follow(mut self) {
        let event = match self.run().await {
            Stop::NotRead => return,
            Stop::Ended => LogEvent::Ended,
            Stop::Incomplete(reason) => LogEvent::Incomplete { reason },
            Stop::Failed(error) => LogEvent::Failed { error },
        };
        // The reader may be gone.
        let _ = self.send(event).await;
    }

    /// The parameters of every read.
    fn params(&self) -> LogParams {
        LogParams { container: self.container.map(str::to_owned), timestamps: true, ..LogParams::default() }
    }

    async fn run(&mut self) -> Stop {
        let mut cut_at: Option<Instant> = None;
        loop {
            let error = match self.open().await {
                Ok(log) => {
                    match self.read(log).await {
                        Ok(()) => {}
                        Err(stop) => return stop,
                    }
                    cut_at = None;
                    None
                }
                Err(error) => Some(error),
            };
            if self.has_pod_ended().await {
                return if self.is_open { Stop::Ended } else { Stop::Incomplete("the pod ended".to_owned()) };
            }
            let since = *cut_at.get_or_insert_with(Instant::now);
            match error {
                Some(error) if code(&error) == 403 => return Stop::Failed(explain(self.access(), &error)),
                Some(error) if since.elapsed() > REOPEN_LIMIT => {
                    return Stop::Incomplete(format!("it could not be followed: {}", explain(self.access(), &error)));
                }
                _ => tokio::time::sleep(REOPEN_PAUSE).await,
            }
        }
    }

    fn access(&self) -> Access<'_> {
        Access::new("get", "", "pods/log", &self.namespace).named(&self.pod)
    }

    /// Opens the log: where it was cut, after the lines that are there already, or at its beginning. Times of lines are
    /// compared with each other only, because the clock of the node may differ from that of this machine.
    async fn open(&mut self) -> Result<impl AsyncBufRead + use<>, kube::Error> {
        if !self.is_open && self.beginning == Beginning::Now {
            let last_lines = LogParams { tail_lines: Some(LAST_LINES), ..self.params() };
            self.last = last_position(self.log(&last_lines).await?).await;
        }
        // The server compares whole seconds, and the client rounds.
        let since = self.last.map(|last| last.at - SignedDuration::from_secs(2));
        self.log(&LogParams { follow: true, since_time: since, ..self.params() }).await
    }

    async fn log(&self, params: &LogParams) -> Result<impl AsyncBufRead + use<>, kube::Error> {
        attempt(self.access(), &mut || self.api.log_stream(&self.pod, params)).await
    }

    /// Sends the lines of an opened log until it ends.
    async fn read(&mut self, log: impl AsyncBufRead) -> Result<(), Stop> {
        let mut log = std::pin::pin!(log);
        let mut resumed = Resumed::new(self.last);
        if !self.is_open {
            self.is_open = true;
            self.send(LogEvent::Opened).await?;
        }
        while let Some(line) = next_line(&mut log).await {
            let Some((at, line)) = line.as_deref().and_then(split_timestamp) else {
                return Err(Stop::Incomplete("a line is longer than 512 KiB, or has no time".to_owned()));
            };
            match resumed.place(at) {
                Place::Known => continue,
                Place::AfterGap => {
                    return Err(Stop::Incomplete("the log was cut, and its end is not there any more".to_owned()));
                }
                Place::New => {}
            }
            self.last = Some(Position::after(self.last, at));
            self.send(LogEvent::Line { at: at.as_microsecond(), line: line.to_owned() }).await?;
        }
        Ok(())
    }

    async fn send(&self, event: LogEvent) -> Result<(), Stop> {
        self.events.send((self.source.clone(), event)).await.map_err(|_| Stop::NotRead)
    }

    /// Whether the pod is deleted or has ended. A request that fails does not show that.
    async fn has_pod_ended(&self) -> bool {
        let only = ListParams::default().fields(&format!("metadata.name={}", self.pod));
        let Ok(found) = self.api.list(&only).await else { return false };
        found.items.iter().all(|pod| matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")))
    }
}

/// Where a line belongs after a log was opened again.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It was sent before.
    Known,
    New,
    /// It is new, and the lines before it are not there.
    AfterGap,
}

/// Tells the new lines of a log that was opened again from the known ones.
struct Resumed {
    last: Option<Position>,
    /// Known lines that were seen again, written at the time of the last one.
    seen: usize,
    is_past: bool,
}

impl Resumed {
    fn new(last: Option<Position>) -> Self {
        Self { last, seen: 0, is_past: last.is_none() }
    }

    fn place(&mut self, at: Timestamp) -> Place {
        let Some(last) = self.last.filter(|_| !self.is_past) else { return Place::New };
        if at < last.at {
            return Place::Known;
        }
        if at == last.at && self.seen < last.lines {
            self.seen += 1;
            return Place::Known;
        }
        self.is_past = true;
        if self.seen == 0 { Place::AfterGap } else { Place::New }
    }
}

/// The next line without its line break; `Some(None)` for a line that is too long, `None` at the end. A last line without
/// a line break is read again when the log is opened again.
pub async fn next_line(log: &mut (impl AsyncBufRead + Unpin)) -> Option<Option<String>> {
    let mut line = Vec::new();
    let read = log.take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    match line.strip_suffix(b"\n") {
        Some(line) => Some(Some(String::from_utf8_lossy(line).into_owned())),
        None if read as u64 == MAX_LINE => Some(None),
        None => None,
    }
}

/// The timestamp that the kubelet puts before a line, and the line.
fn split_timestamp(line: &str) -> Option<(Timestamp, &str)> {
    let (time, line) = line.split_once(' ').unwrap_or((line, ""));
    Some((time.parse().ok()?, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Place::{AfterGap, Known, New};
    use kube::client::Body;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn lines_after_a_cut_are_new_known_or_after_a_gap() {
        let last = |second, lines| Some(Position { at: time(second), lines });
        let rows = [
            ("nothing was read before", None, vec![1, 2], vec![New, New]),
            ("the end is there", last(5, 1), vec![4, 5, 6], vec![Known, Known, New]),
            ("of two lines of one moment one was read", last(5, 1), vec![5, 5], vec![Known, New]),
            ("both were read", last(5, 2), vec![5, 5, 5], vec![Known, Known, New]),
            ("the end is not there", last(5, 1), vec![6], vec![AfterGap]),
            ("only earlier lines are there", last(5, 1), vec![4, 6], vec![Known, AfterGap]),
        ];
        for (name, last, lines, expected) in rows {
            let mut resumed = Resumed::new(last);
            let found: Vec<Place> = lines.into_iter().map(|second| resumed.place(time(second))).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_line_is_read_whole_or_not_at_all() {
        let long = [vec![b'x'; 600 << 10], b"\n".to_vec()].concat();
        for (text, expected) in [
            (b"a\nb".to_vec(), vec![Some(Some("a".to_owned())), None]),
            (b"caf\xe9\n".to_vec(), vec![Some(Some("caf\u{fffd}".to_owned())), None]),
            (long, vec![Some(None)]),
        ] {
            let mut rest = &text[..];
            for line in expected {
                assert_eq!(next_line(&mut rest).await, line);
            }
        }
    }

    /// The events of a pod whose log has `before` when it is first read, and `then` when it is followed.
    async fn events(beginning: Beginning, before: &'static str, then: &'static str) -> (Vec<String>, Vec<String>) {
        let (queries, seen) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = match (request.uri().path().ends_with("/log"), query.contains("follow=true")) {
                (true, true) => then,
                (true, false) => before,
                // The pod is gone.
                (false, _) => r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#,
            };
            queries.send(query).unwrap();
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(body.as_bytes().to_vec()))) }
        });
        let client = kube::Client::new(service, "shop");
        let cluster = Cluster::of_test(client);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
        follow_sidecar(cluster, "web-0".to_owned(), beginning, sender).await;
        let mut events = Vec::new();
        while let Some((_, event)) = receiver.recv().await {
            events.push(match event {
                LogEvent::Line { line, .. } => line,
                LogEvent::Opened => "opened".to_owned(),
                LogEvent::Ended => "ended".to_owned(),
                LogEvent::Incomplete { reason } => reason,
                LogEvent::Failed { error } => error.message,
            });
        }
        let mut seen = seen;
        let mut queries = Vec::new();
        while let Some(query) = seen.recv().await {
            queries.push(query);
        }
        (events, queries)
    }

    #[tokio::test]
    async fn lines_that_were_there_before_are_left_out_whatever_the_clock_of_the_node() {
        let gap = "the log was cut, and its end is not there any more";
        let rows: [(&str, Beginning, &str, &str, &[&str]); 6] = [
            ("no line", Beginning::Now, "", "2099-01-01T00:00:01Z a\n", &["opened", "a", "ended"]),
            (
                "a node whose clock is ahead",
                Beginning::Now,
                "2099-01-01T00:00:01Z a\n2099-01-01T00:00:02Z b\n",
                "2099-01-01T00:00:01Z a\n2099-01-01T00:00:02Z b\n2099-01-01T00:00:02Z c\n2099-01-01T00:00:03Z d\n",
                &["opened", "c", "d", "ended"],
            ),
            (
                "two lines of one moment",
                Beginning::Now,
                "1999-01-01T00:00:02Z a\n1999-01-01T00:00:02Z b\n",
                "1999-01-01T00:00:02Z a\n1999-01-01T00:00:02Z b\n1999-01-01T00:00:03Z c\n",
                &["opened", "c", "ended"],
            ),
            (
                "nothing new",
                Beginning::Now,
                "1999-01-01T00:00:02Z a\n",
                "1999-01-01T00:00:02Z a\n",
                &["opened", "ended"],
            ),
            (
                "rotated meanwhile",
                Beginning::Now,
                "1999-01-01T00:00:02Z a\n",
                "1999-01-01T00:00:03Z c\n",
                &["opened", gap],
            ),
            (
                "a new pod",
                Beginning::First,
                "1999-01-01T00:00:02Z a\n",
                "1999-01-01T00:00:02Z a\n",
                &["opened", "a", "ended"],
            ),
        ];
        for (name, beginning, before, then, expected) in rows {
            let (found, queries) = events(beginning, before, then).await;
            assert_eq!(found, expected, "{name}");
            let follows: Vec<&String> = queries.iter().filter(|query| query.contains("follow=true")).collect();
            let has_since = beginning == Beginning::Now && !before.is_empty();
            assert_eq!(follows.iter().all(|query| query.contains("sinceTime=")), has_since, "{name}: {follows:?}");
        }
    }

    #[test]
    fn the_time_of_a_line_may_be_that_of_another_zone() {
        let (at, line) = split_timestamp("2026-11-26T13:09:43.344+01:00 [x] y").unwrap();
        assert_eq!((at, line), ("2026-11-26T12:09:43.344Z".parse().unwrap(), "[x] y"));
        assert_eq!(split_timestamp("2026-11-26T12:09:43Z").unwrap().1, "");
        assert!(split_timestamp("no time").is_none());
    }
}
