//! Computes which Service ports a probe tests, from targets, `-l` and `--exclude`.

use super::mesh::{PortRef, Service, Snapshot};
use super::probe::{Case, NotProbed, Target, TargetError, cases, cases_where};
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
    use crate::domain::testing::shop;

    fn names(selection: &Selection) -> Result<(Vec<String>, Vec<String>), TargetError> {
        let mut all = shop(&["a", "b", "c"]);
        all.services[0].labels = [("app".to_owned(), "a".to_owned())].into();
        let (asked, left_out) = selection.cases(&all)?;
        Ok((asked.iter().map(Case::name).collect(), left_out.into_iter().map(|left| left.name).collect()))
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
