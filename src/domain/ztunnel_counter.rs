//! Whether a ztunnel's counter of denied connections shows that policy denied ours, from what it was read as before and
//! after them, for `curl_pod::ztunnel_counter`.

use super::proxy::ProxyReport;

/// A counter, read around two rounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// Twice before our first connection, a second apart.
    pub before: [u64; 2],
    /// After each round.
    pub after: [u64; 2],
}

/// What the counter shows if `connections` are ours in each round. It is evidence only if it stood still before and grew by
/// exactly ours twice, by different numbers. The error is why it is none.
pub fn judge(connections: [u64; 2], readings: Readings) -> Result<ProxyReport, String> {
    let Readings { before: [first, second], after } = readings;
    if first != second {
        return Err(format!("its counter of denied connections did not stand still: {first}, then {second}"));
    }
    let grown = [after[0].checked_sub(second), after[1].checked_sub(after[0])];
    if connections[0] != connections[1] && grown == connections.map(Some) {
        return Ok(ProxyReport::Counted { denied: connections });
    }
    let [one, other] = grown.map(|count| count.map_or_else(|| "nothing".to_owned(), |count| count.to_string()));
    Err(format!(
        "its counter of denied connections grew by {one} and {other}, where ours were {} and {}",
        connections[0], connections[1]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_counter_that_grows_by_exactly_our_connections_is_evidence() {
        for (name, connections, before, after, is_evidence) in [
            ("exactly ours", [2, 3], [0, 0], [2, 5], true),
            ("exactly ours, of a counter that was there", [4, 6], [7, 7], [11, 17], true),
            ("others in the first round", [2, 3], [0, 0], [3, 6], false),
            ("others in the second round", [2, 3], [0, 0], [2, 6], false),
            ("others before", [2, 3], [0, 1], [3, 6], false),
            ("one of ours was not denied", [2, 3], [0, 0], [1, 4], false),
            ("nothing was denied", [2, 3], [0, 0], [0, 0], false),
            ("ztunnel was restarted", [2, 3], [9, 9], [2, 5], false),
            ("equal rounds", [2, 2], [0, 0], [2, 4], false),
        ] {
            let result = judge(connections, Readings { before, after });
            let expected = ProxyReport::Counted { denied: connections };
            assert_eq!(result.as_ref().ok(), is_evidence.then_some(&expected), "{name}: {result:?}");
        }
    }
}
