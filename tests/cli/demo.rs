use crate::helpers::{command, finish, run, shows};

#[test]
fn the_whole_demo() {
    let run = run("demo");
    assert!(!run.all().contains('\u{1b}'), "no colour where nobody looks");
    shows!(run, @r#"
    exit 0
    --- stdout

    ── Step 1 of 5 · A rogue asks, and is served ─────────────────────────────────
    The rogue is a pod without the mesh's certificates. It asks for
    boards:8080/shareditems, in plaintext.

      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never \
          --image=appropriate/curl --labels=sidecar.istio.io/inject=false -- \
          http://boards:8080/shareditems

      now
      client ── calls ─────▶ boards:8080
      rogue  ── plaintext ─▶ boards:8080
      accepted: HTTP 200

      [
        {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
        {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
      ]
      client  in the mesh: HTTP 200

    ── Step 2 of 5 · Turn strict mutual TLS on ───────────────────────────────────
    First DestinationRules make every client send mutual TLS, then the policy
    makes every server demand it. In this order no call is lost.

      $ oc apply -f destinationrules-mtls.yaml -f policy-default-enablemtls.yaml \
          -n microservices-demo

      client ── mutual TLS ▶ app-ui:8080          ✗─ plaintext ── rogue
      client ── mutual TLS ▶ boards:8080          ✗─ plaintext ── rogue
      client ── mutual TLS ▶ boards-mongodb:27017 ✗─ plaintext ── rogue
      client ── mutual TLS ▶ context-scraper:9100 ✗─ plaintext ── rogue
      client ── mutual TLS ▶ userprofile:8080     ✗─ plaintext ── rogue

      rules   5 objects in [seconds] s
      policy  1 object in [seconds] s, in force at 5 endpoints after [seconds] s
      rogue   5 targets: 5 rejected, 0 accepted, 0 inconclusive
      client  [all] calls succeeded during the change

    ── Step 3 of 5 · The same rogue asks again ───────────────────────────────────
    Nothing about the rogue has changed. Now the mesh resets its connections.

      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never \
          --image=appropriate/curl --labels=sidecar.istio.io/inject=false -- \
          http://boards:8080/shareditems

      before                               now
      client ── calls ─────▶ boards:8080   client ── mutual TLS ▶ boards:8080
      rogue  ── plaintext ─▶ boards:8080   rogue  ── plaintext ─✗ boards:8080
      accepted: HTTP 200                   rejected: reset by the mesh 3/3

      rogue   curl: Recv failure: Connection reset by peer
      server  spiffe://cluster.local/ns/microservices-demo/sa/boards
              its certificate is verified against the mesh root
      client  in the mesh: HTTP 200

    ── Step 4 of 5 · Turn strict mutual TLS off ──────────────────────────────────
    The other way round: first the policy admits plaintext, then the rules change.

      $ oc apply -f policy-default-disablemtls.yaml -f destinationrules.yaml \
          -n microservices-demo

      client ── calls ─────▶ app-ui:8080          ◀─ plaintext ── rogue
      client ── calls ─────▶ boards:8080          ◀─ plaintext ── rogue
      client ── calls ─────▶ boards-mongodb:27017 ◀─ plaintext ── rogue
      client ── calls ─────▶ context-scraper:9100 ◀─ plaintext ── rogue
      client ── calls ─────▶ userprofile:8080     ◀─ plaintext ── rogue

      policy  1 object in [seconds] s, in force at 5 endpoints after [seconds] s
      rules   5 objects in [seconds] s
      rogue   5 targets: 0 rejected, 5 accepted, 0 inconclusive
      client  [all] calls succeeded during the change

    ── Step 5 of 5 · The rogue is served again ───────────────────────────────────
    The rogue is still the same. Without STRICT, the servers answer it again.

      $ oc run curl-rogue -n microservices-demo --attach --rm --restart=Never \
          --image=appropriate/curl --labels=sidecar.istio.io/inject=false -- \
          http://boards:8080/shareditems

      before                               now
      client ── mutual TLS ▶ boards:8080   client ── calls ─────▶ boards:8080
      rogue  ── plaintext ─✗ boards:8080   rogue  ── plaintext ─▶ boards:8080
      rejected: reset by the mesh 3/3      accepted: HTTP 200

      [
        {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
        {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
      ]
      client  in the mesh: HTTP 200

    ── What was seen ─────────────────────────────────────────────────────────────
      A rogue asks, and is served   boards:8080/shareditems accepted
      Turn strict mutual TLS on     STRICT, in force and proven
      The same rogue asks again     boards:8080/shareditems rejected
      Turn strict mutual TLS off    PERMISSIVE, in force and proven
      The rogue is served again     boards:8080/shareditems accepted

    No code was changed. The mesh encrypts its calls, and refuses plaintext.
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/app-ui           tls ISTIO_MUTUAL
      + destinationrule/boards           tls ISTIO_MUTUAL
      + destinationrule/boards-mongodb   tls ISTIO_MUTUAL
      + destinationrule/context-scraper  tls ISTIO_MUTUAL
      + destinationrule/userprofile      tls ISTIO_MUTUAL
      + peerauthentication/default       mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 5 endpoints
    5 targets: 5 rejected, 0 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 5 targets (the client's sidecar retries HTTP calls)
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    changes in namespace microservices-demo:
      ~ peerauthentication/default       mode STRICT → PERMISSIVE
      ~ destinationrule/app-ui           tls ISTIO_MUTUAL → none
      ~ destinationrule/boards           tls ISTIO_MUTUAL → none
      ~ destinationrule/boards-mongodb   tls ISTIO_MUTUAL → none
      ~ destinationrule/context-scraper  tls ISTIO_MUTUAL → none
      ~ destinationrule/userprofile      tls ISTIO_MUTUAL → none
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 5 endpoints
    5 targets: 0 rejected, 5 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 5 targets (the client's sidecar retries HTTP calls)
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
