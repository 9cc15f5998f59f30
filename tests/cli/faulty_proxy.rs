//! A proxy in front of a served sandbox that throttles, refuses, loses, stalls or falsifies answers: each request gets a
//! [`Fate`].

use crate::helpers::Stage;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// The server answers it.
    Answered,
    /// The server answers 429 with this `retry-after` in seconds, as its fairness filter does.
    Throttled(u32),
    /// The server does not get it, and the answer is this status with this reason.
    Refused(u16, &'static str),
    /// The server does not get it, and the answer is 200 with this JSON.
    Faked(&'static str),
    /// The server handles it, and the answer is `200 {}`.
    Emptied,
    /// The server handles it, and the connection ends without an answer.
    Lost,
    /// The server gets it after this time, whether or not the client waits for the answer.
    Late(Duration),
    /// The server handles it, and the answer stops after its head.
    Stalled,
    /// The server handles it, and the answer ends after this time.
    Cut(Duration),
}

type ProxyResponse = Response<UnsyncBoxBody<Bytes, Failure>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves the sandbox over plain HTTP with these fates; `fate` gets the request, and how often it was made before.
pub(crate) fn serve(stage: &Stage, fate: impl Fn(&Method, &str, usize) -> Fate + Send + Sync + 'static) -> String {
    let client = {
        let _inside = stage.runtime.enter();
        stage.sandbox.client()
    };
    let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let fate = Arc::new(move |request: &Request<Incoming>| {
        let what = format!("{} {}", request.method(), request.uri());
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(what).or_default();
        *count += 1;
        fate(request.method(), &request.uri().to_string(), *count - 1)
    });
    stage.runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, fate) = (client.clone(), Arc::clone(&fate));
                let service =
                    hyper::service::service_fn(move |request| answer(client.clone(), fate(&request), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        url
    })
}

async fn answer(client: kube::Client, fate: Fate, request: Request<Incoming>) -> Result<ProxyResponse, Failure> {
    if let Fate::Throttled(seconds) = fate {
        let words = Full::from("Too many requests, please try again later.\n").map_err(Into::into).boxed_unsync();
        return Ok(Response::builder().status(429).header("retry-after", seconds).body(words)?);
    }
    match fate {
        Fate::Refused(code, reason) => {
            let status = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                "message": "refused by the test",
            });
            return json(code, status.to_string());
        }
        Fate::Faked(body) => return json(200, body.to_owned()),
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let sending = async move {
        if let Fate::Late(time) = fate {
            tokio::time::sleep(time).await;
        }
        client.send(Request::from_parts(parts, Body::from(body))).await
    };
    let response = tokio::spawn(sending).await??;
    match fate {
        Fate::Lost => Err("lost".into()),
        Fate::Stalled => {
            let never = futures::stream::pending::<Result<Frame<Bytes>, Failure>>();
            Ok(response.map(|_| StreamBody::new(never).boxed_unsync()))
        }
        Fate::Cut(time) => Ok(response.map(|body| {
            let data = body.into_data_stream().take_until(tokio::time::sleep(time));
            StreamBody::new(data.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
        })),
        Fate::Emptied => json(200, "{}".to_owned()),
        Fate::Answered | Fate::Late(_) | Fate::Throttled(_) | Fate::Refused(..) | Fate::Faked(_) => {
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
    }
}

fn json(code: u16, body: String) -> Result<ProxyResponse, Failure> {
    let body = Full::from(body).map_err(Into::into).boxed_unsync();
    Ok(Response::builder().status(code).header("content-type", "application/json").body(body)?)
}

/// Whether a request writes one of the mesh's objects, and is no dry run.
pub(crate) fn writes(method: &Method, path: &str) -> bool {
    matches!(*method, Method::PATCH | Method::DELETE) && path.contains(".istio.io/") && !path.contains("dryRun")
}
