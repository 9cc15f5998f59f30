//! The size of a terminal.

use rustix::termios::tcgetwinsize;
use std::os::fd::AsFd;

/// The columns and lines of a terminal; either is 0 if the terminal does not know it. `None` where the stream is none.
pub(super) fn size(stream: impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(stream).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// The columns of a terminal that knows them.
pub(super) fn columns(stream: impl AsFd) -> Option<usize> {
    size(stream).map(|(columns, _)| columns).filter(|columns| *columns > 0)
}
