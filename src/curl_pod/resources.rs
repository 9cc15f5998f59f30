//! The CPU and memory that the containers of a probe pod request, and how they are changed where a LimitRange refuses them,
//! for `probe_pod`. Pure functions.

use serde_json::{Value, json};

/// Requests and limits of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// In thousandths of a CPU.
    cpu: Amount,
    /// In MiB.
    memory: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    request: u32,
    limit: u32,
}

/// Most CPU that is requested to satisfy the ratio of a LimitRange: more might not be free on a node.
const LARGEST_CPU_REQUEST: u32 = 100;

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: Amount { request: 10, limit: 1000 }, memory: Amount { request: 16, limit: 64 } }
    }
}

/// What a LimitRange demands of a container, in the unit of the [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Demand {
    /// The request is at least this.
    Minimum(f64),
    /// The limit is at most this.
    Maximum(f64),
    /// The limit is at most this many times the request.
    Ratio(f64),
}

impl Resources {
    /// Resources that satisfy the demands in the API server's refusal, within the default limits. `None` where no demand
    /// is known, or where these limits cannot satisfy it.
    pub fn adapted(self, refusal: &str) -> Option<Self> {
        let mut adapted = self;
        for clause in refusal.split(", ") {
            // The first clause follows `is forbidden: [`.
            let clause = clause.rsplit("forbidden: ").next()?.trim_start_matches('[').trim_end_matches(']');
            if let Some((demand, is_cpu)) = demand(clause) {
                let (amount, most) = if is_cpu {
                    (&mut adapted.cpu, LARGEST_CPU_REQUEST)
                } else {
                    (&mut adapted.memory, Self::default().memory.limit)
                };
                *amount = amount.meeting(demand, most)?;
            }
        }
        (adapted != self).then_some(adapted)
    }

    /// The container's field `resources`.
    pub fn to_json(self) -> Value {
        let cpu = |amount: u32| if amount == 1000 { "1".to_owned() } else { format!("{amount}m") };
        json!({
            "requests": {"cpu": cpu(self.cpu.request), "memory": format!("{}Mi", self.memory.request)},
            "limits": {"cpu": cpu(self.cpu.limit), "memory": format!("{}Mi", self.memory.limit)},
        })
    }
}

impl Amount {
    /// The amount that meets a demand; `most` is the largest request for the sake of a ratio.
    fn meeting(self, demand: Demand, most: u32) -> Option<Self> {
        let Self { request, limit } = self;
        let met = match demand {
            Demand::Minimum(least) => Self { request: request.max(rounded(least.ceil())?), limit },
            Demand::Maximum(largest) => Self { request, limit: limit.min(rounded(largest.floor())?) },
            Demand::Ratio(ratio) => {
                let wanted = rounded((f64::from(limit) / ratio).ceil())?;
                let request = wanted.min(most).max(request);
                Self { request, limit: limit.min(rounded((f64::from(request) * ratio).floor())?) }
            }
        };
        (met.request <= met.limit).then_some(met)
    }
}

/// A whole number of at most a million.
fn rounded(number: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..=1e6).contains(&number).then_some(number as u32)
}

/// Parses one clause of a refusal, as the plug-in `LimitRanger` writes it; whether it is about CPU, else about memory.
fn demand(clause: &str) -> Option<(Demand, bool)> {
    let words: Vec<&str> = clause.split_whitespace().collect();
    let (kind, resource, value) = match words[..] {
        ["minimum", resource, "usage", "per", "Container", "is", value, ..] => ("minimum", resource, value),
        ["maximum", resource, "usage", "per", "Container", "is", value, ..] => ("maximum", resource, value),
        [resource, "max", "limit", "to", "request", "ratio", "per", "Container", "is", value, ..] => {
            ("ratio", resource, value)
        }
        _ => return None,
    };
    let value = value.trim_end_matches([',', '.']);
    let is_cpu = match resource {
        "cpu" => true,
        "memory" => false,
        _ => return None,
    };
    Some(match kind {
        "ratio" => (Demand::Ratio(plain(value)?).checked()?, is_cpu),
        "minimum" => (Demand::Minimum(amount(value, is_cpu)?), is_cpu),
        _ => (Demand::Maximum(amount(value, is_cpu)?), is_cpu),
    })
}

impl Demand {
    /// A ratio below one cannot be met.
    fn checked(self) -> Option<Self> {
        match self {
            Self::Ratio(ratio) => (ratio >= 1.0).then_some(self),
            _ => Some(self),
        }
    }
}

/// A quantity in thousandths of a CPU, or in MiB.
fn amount(quantity: &str, is_cpu: bool) -> Option<f64> {
    let number = plain(quantity)?;
    Some(if is_cpu { number * 1000.0 } else { number / f64::from(1 << 20) })
}

/// A quantity of Kubernetes as a number.
fn plain(quantity: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 10] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("", 1.0),
    ];
    let (number, factor) = UNITS.iter().find_map(|(unit, factor)| Some((quantity.strip_suffix(unit)?, factor)))?;
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_adapted_to_what_a_limit_range_demands() {
        let rows = [
            (
                "[cpu max limit to request ratio per Container is 50, but provided ratio is 100.000000, memory max limit to \
                 request ratio per Container is 2, but provided ratio is 4.000000]",
                Some((20, 1000, 32, 64)),
            ),
            (
                "cpu max limit to request ratio per Container is 4, but provided ratio is 100.000000",
                Some((100, 400, 16, 64)),
            ),
            (
                "cpu max limit to request ratio per Container is 1, but provided ratio is 100.000000",
                Some((100, 100, 16, 64)),
            ),
            (
                "memory max limit to request ratio per Container is 1500m, but provided ratio is 4",
                Some((10, 1000, 43, 64)),
            ),
            ("minimum cpu usage per Container is 50m, but request is 10m", Some((50, 1000, 16, 64))),
            ("minimum memory usage per Container is 32Mi, but request is 16Mi", Some((10, 1000, 32, 64))),
            ("maximum cpu usage per Container is 200m, but limit is 1", Some((10, 200, 16, 64))),
            ("maximum memory usage per Container is 48Mi, but limit is 64Mi", Some((10, 1000, 16, 48))),
            ("minimum memory usage per Container is 128Mi, but request is 16Mi", None),
            ("maximum memory usage per Container is 8Mi, but limit is 64Mi", None),
            ("maximum cpu usage per Pod is 100m, but limit is 1", None),
            ("cpu max limit to request ratio per Container is 0, but provided ratio is 100.000000", None),
            ("minimum ephemeral-storage usage per Container is 1Gi, but request is 0", None),
            ("the words of another plug-in", None),
        ];
        for (refusal, expected) in rows {
            let refusal = format!("pods \"p\" is forbidden: {refusal}");
            let expected = expected.map(|(cpu, cpu_limit, memory, memory_limit)| Resources {
                cpu: Amount { request: cpu, limit: cpu_limit },
                memory: Amount { request: memory, limit: memory_limit },
            });
            assert_eq!(Resources::default().adapted(&refusal), expected, "{refusal}");
        }
    }

    #[test]
    fn what_is_adapted_already_is_not_adapted_again() {
        let refusal = "cpu max limit to request ratio per Container is 4, but provided ratio is 100.000000";
        let adapted = Resources::default().adapted(refusal).unwrap();
        assert_eq!(adapted.adapted(refusal), None);
        assert_eq!(adapted.to_json()["limits"]["cpu"], "400m");
        assert_eq!(Resources::default().to_json()["limits"]["cpu"], "1");
    }
}
