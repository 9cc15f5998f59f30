use crate::helpers::{command, finish, run, shows};

#[test]
fn the_whole_demo() {
    let run = run("demo");
    assert!(!run.all().contains('\u{1b}'), "no colour where nobody looks");
    shows!(run, @r#"
    exit 0
    --- stdout

    ── 1 of 5 · A rogue asks, and is served ──────────────────────────────────────
    A pod without the mesh's certificates asks for boards:8080/shareditems, in plaintext.
      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never --image=appropriate/curl \
          --labels=sidecar.istio.io/inject=false -- http://boards:8080/shareditems

    boards:8080/shareditems  accepted
      seen       HTTP 200
      policy     PERMISSIVE, the mesh's default: no policy says otherwise
      body
        [
          {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
          {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
        ]

    ── 2 of 5 · Turn strict mutual TLS on ────────────────────────────────────────
    First every client learns to send mutual TLS (app-ui, boards, boards-mongodb, context-scraper, userprofile),
    then the policy makes every server demand it. In this order no call is lost.
      $ oc apply -f destinationrules-mtls.yaml
      $ oc apply -f policy-default-enablemtls.yaml

    destinationrule.networking.istio.io/app-ui created
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/boards-mongodb created
    destinationrule.networking.istio.io/context-scraper created
    destinationrule.networking.istio.io/userprofile created
    peerauthentication.security.istio.io/default created
    TARGET                 VERDICT    MODE     SEEN
    app-ui:8080            rejected   STRICT   every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint
    boards:8080            rejected   STRICT   every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint
    boards-mongodb:27017   rejected   STRICT   every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint
    context-scraper:9100   rejected   STRICT   every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint
    userprofile:8080       rejected   STRICT   every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint

    ── 3 of 5 · The same rogue asks again ────────────────────────────────────────
    Nothing about the rogue has changed. Now the mesh resets its connections, and shows whose
    sidecar did it: the certificate is verified, not believed.
      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never --image=appropriate/curl \
          --labels=sidecar.istio.io/inject=false -- http://boards:8080/shareditems

    boards:8080/shareditems  rejected
      seen       every plaintext connection was reset (3 of 3) by the mesh at 1 endpoint
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)

    ── 4 of 5 · Put things back the way they were ────────────────────────────────
    The other way round: first the policy lets plaintext in again, then the rules go.
      $ oc apply -f policy-default-disablemtls.yaml
      $ oc apply -f destinationrules.yaml

    peerauthentication.security.istio.io/default configured
    destinationrule.networking.istio.io/app-ui configured
    destinationrule.networking.istio.io/boards configured
    destinationrule.networking.istio.io/boards-mongodb configured
    destinationrule.networking.istio.io/context-scraper configured
    destinationrule.networking.istio.io/userprofile configured
    TARGET                 VERDICT    MODE         SEEN
    app-ui:8080            accepted   PERMISSIVE   HTTP 200
    boards:8080            accepted   PERMISSIVE   HTTP 200
    boards-mongodb:27017   accepted   PERMISSIVE   bytes came back, not HTTP
    context-scraper:9100   accepted   PERMISSIVE   HTTP 200
    userprofile:8080       accepted   PERMISSIVE   HTTP 200

    ── 5 of 5 · And the rogue is served again ────────────────────────────────────
    The last time.
      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never --image=appropriate/curl \
          --labels=sidecar.istio.io/inject=false -- http://boards:8080/shareditems

    boards:8080/shareditems  accepted
      seen       HTTP 200
      policy     PERMISSIVE, by microservices-demo/default (namespace)
      body
        [
          {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
          {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
        ]

    ── What was seen ──────────────────────────────────────────────────────────────
      A rogue asks, and is served         boards:8080/shareditems accepted
      Turn strict mutual TLS on           STRICT, in force and proven
      The same rogue asks again           boards:8080/shareditems rejected
      Put things back the way they were   PERMISSIVE, in force and proven
      And the rogue is served again       boards:8080/shareditems accepted

    No code was changed, no network was rebuilt: the platform encrypts, and refuses what does not.
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    clients outside the mesh, and calls to pods by address, are not checked (pass --prometheus URL)
    changes in namespace microservices-demo:
      destinationrule.networking.istio.io/app-ui created (app-ui.microservices-demo.svc.cluster.local: ISTIO_MUTUAL)
      destinationrule.networking.istio.io/boards created (boards.microservices-demo.svc.cluster.local: ISTIO_MUTUAL)
      destinationrule.networking.istio.io/boards-mongodb created (boards-mongodb.microservices-demo.svc.cluster.local: ISTIO_MUTUAL)
      destinationrule.networking.istio.io/context-scraper created (context-scraper.microservices-demo.svc.cluster.local: ISTIO_MUTUAL)
      destinationrule.networking.istio.io/userprofile created (userprofile.microservices-demo.svc.cluster.local: ISTIO_MUTUAL)
      peerauthentication.security.istio.io/default created (mode STRICT)
    every open connection to these ports, those in mutual TLS too, ends within its pod's drain time (45 s)
    in force after [seconds] s at 5 endpoints
    proven: plaintext is rejected at 5 targets; every open connection to these ports, those in mutual TLS too, ends within its pod's drain time (45 s)
    calls in the mesh: [all] got through while it changed, at 5 targets (HTTP calls after the retries of the client's sidecar)
    what was there before is noted in the cluster: disable-mtls -n microservices-demo --restore puts it back
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    changes in namespace microservices-demo:
      peerauthentication.security.istio.io/default configured (mode STRICT → PERMISSIVE)
      destinationrule.networking.istio.io/app-ui configured (tls ISTIO_MUTUAL → none)
      destinationrule.networking.istio.io/boards configured (tls ISTIO_MUTUAL → none)
      destinationrule.networking.istio.io/boards-mongodb configured (tls ISTIO_MUTUAL → none)
      destinationrule.networking.istio.io/context-scraper configured (tls ISTIO_MUTUAL → none)
      destinationrule.networking.istio.io/userprofile configured (tls ISTIO_MUTUAL → none)
    every open connection to these ports, those in mutual TLS too, ends within its pod's drain time (45 s)
    in force after [seconds] s at 5 endpoints
    proven: plaintext is accepted at 5 targets; every open connection to these ports, those in mutual TLS too, ends within its pod's drain time (45 s)
    calls in the mesh: [all] got through while it changed, at 5 targets (HTTP calls after the retries of the client's sidecar)
    peerauthentication/default stays with PERMISSIVE, which exempts the namespace from a STRICT of the mesh; delete it with: kubectl delete peerauthentication default -n microservices-demo
    rules stay with a host alone, and hide rules of the mesh's root namespace for it; delete them with: kubectl delete destinationrule app-ui boards boards-mongodb context-scraper userprofile -n microservices-demo
    "#);
}

#[test]
fn colour_follows_the_flag_and_the_environment() {
    let always = run("demo --color always --target userprofile:8080/");
    assert_eq!(always.code, Some(0), "{always}");
    assert!(always.stdout.contains("\u{1b}["), "{always}");
    let mut no_color = command();
    no_color.env("NO_COLOR", "1").args(["probe", "--sandbox", "boards", "--attempts", "1"]);
    assert!(!finish(no_color).all().contains('\u{1b}'));
    let mut both = command();
    both.env("NO_COLOR", "1").args(["probe", "--sandbox", "boards", "--attempts", "1", "--color", "always"]);
    assert!(finish(both).stdout.contains("\u{1b}["), "the flag is the later word");
}

#[test]
fn an_unknown_target_stops_the_demo_before_it_starts() {
    shows!(run("demo --target nosuch:8080/"), @r#"
    exit 2
    --- stderr
    error: service "nosuch" not found in namespace "microservices-demo"
    hint: its Services are: app-ui, boards, boards-mongodb, context-scraper, userprofile
    "#);
}
