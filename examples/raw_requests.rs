//! The floor of `benches/switch.sh`: applies the DestinationRules of a file, 32 requests at a time, and does nothing else.
//! No list, no plan, no journal, no check: what is left is what the API server and the way to it take.
//!
//! `raw_requests FILE NAMESPACE`, on the cluster of KUBECONFIG; FILE has one object as JSON a line.
#![expect(clippy::print_stderr, reason = "a program of its own")]

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(namespace)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("raw_requests FILE NAMESPACE");
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = std::fs::read_to_string(file)?;
    let objects: Vec<DynamicObject> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let client = kube::Client::try_default().await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &kind);
    let params = PatchParams::apply("floor");
    let requests = objects.iter().map(async |object| {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &params, &Patch::Apply(object)).await
    });
    let _: Vec<DynamicObject> = futures::stream::iter(requests).buffer_unordered(32).try_collect().await?;
    eprintln!("{} requests", objects.len());
    Ok(())
}
