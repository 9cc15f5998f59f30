//! Chains as a mesh issues them, and as an application forges them.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

const BOARDS: &str = "spiffe://cluster.local/ns/demo/sa/boards";
/// 2026-06-01, when the certificates below are valid.
const NOW: i64 = 1_780_272_000;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

fn authority_params(organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(organization: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let params = authority_params(organization);
    let certificate = params.self_signed(&key).unwrap();
    Authority { der: certificate.der().to_vec(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
}

fn intermediate(root: &Authority) -> Authority {
    let key = KeyPair::generate().unwrap();
    let params = authority_params("cluster.local intermediate");
    let certificate = params.signed_by(&key, &root.issuer).unwrap();
    Authority { der: certificate.der().to_vec(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
}

/// A leaf with these names, valid through 2025 to 2029.
fn leaf(authority: &Authority, names: &[&str]) -> Vec<u8> {
    leaf_until(authority, names, 2030)
}

fn leaf_until(authority: &Authority, names: &[&str], year: i32) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().der().to_vec()
}

#[test]
fn a_chain_of_the_mesh_gives_the_identity() {
    let root = root("cluster.local");
    let identity = verify(&[leaf(&root, &[BOARDS]), root.der.clone()], &root.pem, NOW).unwrap();
    assert_eq!(identity.spiffe, BOARDS);
    assert_eq!(identity.issuer, "O=cluster.local");
    assert_eq!(identity.expires, 1_893_456_000);
    verify(&[leaf(&root, &[BOARDS])], &root.pem, NOW).expect("the root itself need not be shown");
}

#[test]
fn an_intermediate_must_be_part_of_the_chain() {
    let root = root("cluster.local");
    let between = intermediate(&root);
    let leaf = leaf(&between, &[BOARDS]);
    let whole = verify(&[leaf.clone(), between.der.clone(), root.der.clone()], &root.pem, NOW).unwrap();
    assert_eq!((whole.spiffe.as_str(), whole.issuer.as_str()), (BOARDS, "O=cluster.local intermediate"));
    let refused = verify(std::slice::from_ref(&leaf), &root.pem, NOW).unwrap_err();
    assert!(refused.contains("does not verify"), "{refused}");
    verify(&[leaf], &between.pem, NOW).expect("an intermediate that is itself trusted");
}

#[test]
fn another_authority_of_the_same_name_proves_nothing() {
    let (mesh, forger) = (root("cluster.local"), root("cluster.local"));
    for chain in [
        vec![leaf(&forger, &[BOARDS])],
        vec![leaf(&forger, &[BOARDS]), forger.der.clone()],
        // The mesh's own root, together with a leaf that it did not sign.
        vec![leaf(&forger, &[BOARDS]), mesh.der.clone()],
    ] {
        let refused = verify(&chain, &mesh.pem, NOW).unwrap_err();
        assert!(refused.starts_with("does not verify against the mesh root"), "{refused}");
    }
}

#[test]
fn any_root_of_a_bundle_verifies() {
    let (old, new) = (root("cluster.local"), root("cluster.local"));
    let bundle = format!("# rotated\n{}\nno certificate\n{}", old.pem, new.pem);
    for authority in [&old, &new] {
        verify(&[leaf(authority, &[BOARDS])], &bundle, NOW).unwrap();
    }
    assert_eq!(certificates(&bundle).len(), 2);
}

#[test]
fn a_certificate_is_valid_only_in_its_period() {
    let root = root("cluster.local");
    let expired = verify(&[leaf_until(&root, &[BOARDS], 2026)], &root.pem, NOW).unwrap_err();
    assert!(expired.contains("does not verify") && expired.to_lowercase().contains("expired"), "{expired}");
    let early = verify(&[leaf(&root, &[BOARDS])], &root.pem, 0).unwrap_err();
    assert!(early.contains("does not verify"), "{early}");
    let negative = verify(&[leaf(&root, &[BOARDS])], &root.pem, -1).unwrap_err();
    assert!(negative.contains("does not verify"), "{negative}");
}

#[test]
fn a_certificate_needs_exactly_one_spiffe_name() {
    let root = root("cluster.local");
    for (row, names) in [
        ("none", &[][..]),
        ("a URI of another kind", &["https://example.org/boards"]),
        ("two", &[BOARDS, "spiffe://cluster.local/ns/demo/sa/other"]),
        ("the same twice", &[BOARDS, BOARDS]),
    ] {
        let refused = verify(&[leaf(&root, names)], &root.pem, NOW).unwrap_err();
        assert_eq!(refused, "carries no single SPIFFE name", "{row}");
    }
    // The caller compares the identity.
    let other = verify(&[leaf(&root, &["spiffe://other/ns/x/sa/y"])], &root.pem, NOW).unwrap();
    assert_eq!(other.spiffe, "spiffe://other/ns/x/sa/y");
}

#[test]
fn malformed_certificates_are_refused() {
    let root = root("cluster.local");
    let good = leaf(&root, &[BOARDS]);
    assert_eq!(verify(&[], &root.pem, NOW).unwrap_err(), "is missing");
    for garbage in [&b""[..], b"garbage", &[0x30, 0x82, 0xff, 0xff], &good[..good.len() / 2]] {
        assert_eq!(verify(&[garbage.to_vec()], &root.pem, NOW).unwrap_err(), "cannot be read");
    }
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(verify(&[flipped], &root.pem, NOW).unwrap_err().contains("does not verify"));
    let with_garbage = verify(&[good.clone(), b"garbage".to_vec()], &root.pem, NOW);
    assert!(with_garbage.is_ok(), "what else is shown is not needed here: {with_garbage:?}");
    for roots in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = verify(std::slice::from_ref(&good), roots, NOW).unwrap_err();
        assert_eq!(refused, "cannot be checked: the mesh root has no usable certificate", "{roots:?}");
    }
}

#[test]
fn the_mesh_root_itself_is_not_a_workload() {
    let root = root("cluster.local");
    assert_eq!(verify(std::slice::from_ref(&root.der), &root.pem, NOW).unwrap_err(), "carries no single SPIFFE name");
}
