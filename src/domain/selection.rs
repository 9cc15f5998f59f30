//! Computes which Service ports a probe tests, from targets, `-l` and `--exclude`.

use super::mesh::{PortRef, Service, Snapshot};
use super::probe::{Case, NotProbed, Target, TargetError, cases, cases_where, pod_cases};
use super::selector::Selector;

/// The ports to probe, as on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Empty means every Service that the selector matches.
    pub targets: Vec<Target>,
    /// `-l`.
    pub selector: Option<Selector>,
    /// `--exclude`.
    pub exclude: Vec<Target>,
    /// `--all-ports`: also the declared ports of pods that no Service names.
    pub all_ports: bool,
}

impl Selection {
    /// The cases, and the ports that are left out. An excluded target must exist, because a misspelt one would be probed.
    pub fn cases(&self, snapshot: &Snapshot) -> Result<(Vec<Case>, Vec<NotProbed>), TargetError> {
        let takes = |service: &Service| {
            let selector = self.selector.as_ref();
            selector.is_none_or(|selector| selector.matches(|key| service.labels.get(key).map(String::as_str)))
        };
        let (mut asked, mut left_out) = cases_where(snapshot, &self.targets, takes)?;
        for excluded in &self.exclude {
            cases(snapshot, std::slice::from_ref(excluded))?;
        }
        asked.retain(|case| {
            let is_out = self.exclude.iter().any(|target| covers(target, case));
            if is_out {
                left_out.push(NotProbed { name: case.name(), reason: "excluded" });
            }
            !is_out
        });
        if self.all_ports {
            let (of_pods, without_address) = pod_cases(snapshot);
            asked.extend(of_pods);
            left_out.extend(without_address);
        }
        Ok((asked, left_out))
    }
}

fn covers(target: &Target, case: &Case) -> bool {
    target.service == case.service
        && match &target.port {
            None => true,
            Some(PortRef::Number(number)) => *number == case.port,
            Some(PortRef::Name(name)) => *name == case.port_name,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::DataPlane;
    use crate::domain::testing::shop;

    fn names(selection: &Selection) -> Result<(Vec<String>, Vec<String>), TargetError> {
        let mut all = shop(&["a", "b", "c"]);
        all.services[0].labels = [("app".to_owned(), "a".to_owned())].into();
        let (asked, left_out) = selection.cases(&all)?;
        Ok((asked.iter().map(Case::name).collect(), left_out.into_iter().map(|left| left.name).collect()))
    }

    #[test]
    fn all_ports_are_those_of_pods_that_no_service_names() {
        let mut snapshot = shop(&["web"]);
        let pod = snapshot.pods.get_mut("web-0").unwrap();
        pod.addresses = vec!["10.0.0.1".into()];
        pod.facts.declared_ports = [8080, 9000].into();
        pod.facts.workload = "deployment/web".into();
        let ipv6 = crate::domain::mesh::Pod { name: "db-0".into(), addresses: vec!["fd00::1".into()], ..pod.clone() };
        let naked = crate::domain::mesh::Pod { name: "naked".into(), data_plane: DataPlane::None, ..ipv6.clone() };
        let mut alone = ipv6;
        alone.facts.workload = "statefulset/db".into();
        snapshot.pods.extend([("db-0".to_owned(), alone), ("naked".to_owned(), naked)]);
        let asked = |all_ports| Selection { all_ports, ..Selection::default() }.cases(&snapshot).unwrap();
        assert_eq!(asked(false).0.len(), 1);
        let (cases, left_out) = asked(true);
        let names: Vec<String> = cases.iter().map(Case::name).collect();
        assert_eq!(names, ["web:80", "deployment/web:9000"]);
        assert_eq!((cases[1].host.as_str(), cases[1].endpoints.len()), ("10.0.0.1", 1));
        let left_out: Vec<String> = left_out.into_iter().map(|left| left.name).collect();
        assert_eq!(left_out, ["statefulset/db:8080", "statefulset/db:9000"]);
        let changed = |after: &Snapshot| crate::domain::probe::changed(&cases, after);
        assert_eq!(changed(&snapshot), [false, false]);
        let mut gone = snapshot.clone();
        gone.pods.remove("web-0");
        assert!(changed(&gone)[1]);
    }

    #[test]
    fn selected_ports_that_are_not_excluded_are_probed() {
        let all = names(&Selection::default()).unwrap().0;
        assert_eq!(all.len(), 3);
        let by_label = Selection { selector: Some("app=a".parse().unwrap()), ..Selection::default() };
        assert_eq!(names(&by_label).unwrap().0, all[..1]);
        let target = Target::service;
        let without = Selection { exclude: vec![target("b")], ..Selection::default() };
        assert_eq!(names(&without).unwrap(), (vec![all[0].clone(), all[2].clone()], vec![all[1].clone()]));
        let port = |name: &str| Target { port: Some(PortRef::Name(name.to_owned())), ..target("b") };
        for misspelt in [target("bb"), port("nosuch")] {
            assert!(names(&Selection { exclude: vec![misspelt], ..Selection::default() }).is_err());
        }
    }
}
