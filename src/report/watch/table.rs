//! The live table of `probe --watch`: a row for each target, fitted to the terminal.

use super::color;
use crate::domain::watch::WatchedAnswer;
use crate::report::table::layout;
use crate::sanitize::line;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Lines of the terminal that no row can have: the head, and the line of the cursor below the table.
const OTHER_LINES: usize = 2;

/// The heads of the columns, the most important first but for the last two.
const HEAD: [&str; 5] = ["TARGET", "ANSWER", "FOR", "SINCE", "BEFORE"];

/// The targets of a watch with what each answers. It outlives the pods of a watch.
#[derive(Debug, Clone, Default)]
pub struct WatchTable {
    rows: Vec<TargetRow>,
}

#[derive(Debug, Clone)]
struct TargetRow {
    target: String,
    /// The present answer, and since when it is known; `None` before the first one.
    answer: Option<(WatchedAnswer, Timestamp)>,
    /// The answer before the last change, and how many seconds it lasted.
    before: Option<(WatchedAnswer, f64)>,
}

impl WatchTable {
    /// Sets the targets that are watched from now on. Rows of those that were watched before are kept.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = String>) {
        let mut known = std::mem::take(&mut self.rows);
        let row = |target: String| match known.iter().position(|row| row.target == target) {
            Some(position) => known.swap_remove(position),
            None => TargetRow { target, answer: None, before: None },
        };
        self.rows = targets.into_iter().map(row).collect();
    }

    /// Records what the target with this index answers. Another HTTP status is not a change.
    pub fn record(&mut self, target: usize, answer: WatchedAnswer, now: Timestamp) {
        let Some(row) = self.rows.get_mut(target) else { return };
        match row.answer {
            Some((before, since)) if before.as_str() != answer.as_str() => {
                row.before = Some((before, now.duration_since(since).as_secs_f64()));
                row.answer = Some((answer, now));
            }
            Some((_, since)) => row.answer = Some((answer, since)),
            None => row.answer = Some((answer, now)),
        }
    }

    /// The table in at most `columns` and less than `lines` lines, which is the size of the terminal. Where not every row
    /// fits, those that differ from most come first, then those that changed last; a line has the number of the others.
    pub fn text(&self, now: Timestamp, columns: usize, lines: usize) -> String {
        let room = lines.saturating_sub(OTHER_LINES).max(1);
        let (shown, hidden) = self.split(room);
        // Columns that leave the others too narrow to be read are left out.
        let count = [(52, 5), (30, 3)].iter().find(|(least, _)| columns >= *least).map_or(2, |(_, count)| *count);
        let cells: Vec<Vec<String>> = shown.iter().map(|row| row.cells(now)[..count].to_vec()).collect();
        let mut text = layout(&HEAD[..count], &cells, Some(columns), |row, column, cell| match shown[row].answer {
            Some((answer, _)) if column == 1 => colored::Colorize::color(cell, color(answer)).to_string(),
            _ => cell.to_owned(),
        });
        if !hidden.is_empty() {
            let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
            for row in &hidden {
                *numbers.entry(row.kind()).or_default() += 1;
            }
            let numbers: Vec<String> = numbers.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
            let more = format!("… {} more: {}", hidden.len(), numbers.join(", "));
            let _ = writeln!(text, "{}", crate::report::table::cut(&more, columns));
        }
        text
    }

    /// The rows that are shown in this many lines, and the others.
    fn split(&self, room: usize) -> (Vec<&TargetRow>, Vec<&TargetRow>) {
        let mut rows: Vec<&TargetRow> = self.rows.iter().collect();
        if rows.len() <= room {
            return (rows, Vec::new());
        }
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &rows {
            *numbers.entry(row.kind()).or_default() += 1;
        }
        let most = numbers.iter().max_by_key(|(_, number)| **number).map_or("", |(kind, _)| *kind);
        rows.sort_by_key(|row| {
            let changed = row.before.and(row.answer).map(|(_, since)| since);
            (row.kind() == most, Reverse(changed))
        });
        let hidden = rows.split_off(room.saturating_sub(1).max(1));
        (rows, hidden)
    }
}

impl TargetRow {
    fn kind(&self) -> &'static str {
        self.answer.map_or("waiting", |(answer, _)| answer.as_str())
    }

    fn cells(&self, now: Timestamp) -> [String; HEAD.len()] {
        let target = line(&self.target).into_owned();
        let Some((answer, since)) = self.answer else {
            return [target, "waiting".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()];
        };
        let lasts = now.duration_since(since).as_secs().max(0);
        let before = self.before.map_or_else(
            || "-".to_owned(),
            |(before, seconds)| match seconds {
                0.0..10.0 => format!("{} {seconds:.1}s", before.as_str()),
                #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
                _ => format!("{} {}", before.as_str(), span(seconds as i64)),
            },
        );
        [target, answer.to_string(), span(lasts), since.strftime("%H:%M:%SZ").to_string(), before]
    }
}

/// A number of seconds as kubectl writes an age: `12s`, `4m10s`, `75m`, `5h`, `3d`.
fn span(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 if seconds % MINUTE != 0 => format!("{}m{}s", seconds / MINUTE, seconds % MINUTE),
        120..10_800 => format!("{}m", seconds / MINUTE),
        10_800..172_800 => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / (24 * HOUR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::Reason;
    use crate::domain::sample::AcceptedBy;
    use WatchedAnswer::{Refused, Silent};
    use unicode_width::UnicodeWidthStr;

    const ANSWERED: WatchedAnswer = WatchedAnswer::Answered(AcceptedBy::Http(200));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + second).unwrap()
    }

    fn table(number: usize) -> WatchTable {
        let mut table = WatchTable::default();
        table.set_targets((0..number).map(|index| format!("target{index:02}:8080")));
        for index in 0..number {
            table.record(index, ANSWERED, at(0));
        }
        table
    }

    #[test]
    fn a_row_changes_in_its_place() {
        let mut watched = table(3);
        watched.set_targets((0..4).map(|index| format!("target{index:02}:8080")));
        watched.record(1, Refused, at(4));
        watched.record(2, Silent(Reason::ClosedNotReset), at(4));
        watched.record(2, ANSWERED, at(250));
        insta::assert_snapshot!(watched.text(at(255), 80, 24), @r"
        TARGET          ANSWER                FOR     SINCE       BEFORE
        target00:8080   answered (HTTP 200)   4m15s   16:00:00Z   -
        target01:8080   refused               4m11s   16:00:04Z   answered 4.0s
        target02:8080   answered (HTTP 200)   5s      16:04:10Z   silent 4m6s
        target03:8080   waiting               -       -           -
        ");
        insta::assert_snapshot!(watched.text(at(255), 40, 24), @r"
        TARGET          ANSWER             FOR
        target00:8080   answered (HTTP…    4m15s
        target01:8080   refused            4m11s
        target02:8080   answered (HTTP…    5s
        target03:8080   waiting            -
        ");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        for (number, columns, lines) in
            [(5, 80, 24), (5, 52, 24), (5, 40, 24), (5, 20, 24), (40, 80, 24), (40, 120, 40), (3, 80, 4), (500, 80, 24)]
        {
            let text = table(number).text(at(100_000), columns, lines);
            assert!(text.lines().count() < lines, "{number} in {columns}×{lines}: {text}");
            assert!(text.lines().all(|line| line.width() <= columns), "{number} in {columns}×{lines}: {text}");
        }
    }

    #[test]
    fn rows_that_are_not_as_most_and_those_that_changed_last_come_first() {
        let mut watched = table(12);
        watched.record(7, Refused, at(5));
        watched.record(7, ANSWERED, at(9));
        watched.record(11, Refused, at(10));
        watched.record(9, Refused, at(12));
        insta::assert_snapshot!(watched.text(at(15), 80, 8), @r"
        TARGET          ANSWER                FOR   SINCE       BEFORE
        target09:8080   refused               3s    16:00:12Z   answered 12s
        target11:8080   refused               5s    16:00:10Z   answered 10s
        target07:8080   answered (HTTP 200)   6s    16:00:09Z   refused 4.0s
        target00:8080   answered (HTTP 200)   15s   16:00:00Z   -
        target01:8080   answered (HTTP 200)   15s   16:00:00Z   -
        … 7 more: 7 answered
        ");
        for index in 0..12 {
            watched.record(index, Refused, at(20));
        }
        insta::assert_snapshot!(watched.text(at(21), 80, 8), @r"
        TARGET          ANSWER    FOR   SINCE       BEFORE
        target00:8080   refused   1s    16:00:20Z   answered 20s
        target01:8080   refused   1s    16:00:20Z   answered 20s
        target02:8080   refused   1s    16:00:20Z   answered 20s
        target03:8080   refused   1s    16:00:20Z   answered 20s
        target04:8080   refused   1s    16:00:20Z   answered 20s
        … 7 more: 7 refused
        ");
    }

    #[test]
    fn durations_are_written_as_kubectl_writes_an_age() {
        let rows = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (250, "4m10s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (200_000, "2d"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
    }
}
