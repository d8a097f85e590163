//! How the points of a scene ended, and that they ended in all ways there are.

use super::common::crash::Which;
use super::scene::{Does, Series};

/// How the points of a scene ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Killed before anything had changed.
    pub(super) untouched: usize,
    /// Killed, and recovered by each of the three.
    pub(super) by: [usize; 3],
    /// A call failed and the program went on.
    pub(super) harmless: usize,
    /// A call failed, and the program took everything back or left all as it was.
    pub(super) undone: usize,
    /// A call failed while taking away, the program said so, and the next del or gc
    /// took away what was left.
    pub(super) finished_later: usize,
    /// A call failed, the program succeeded, and empty directories of ours were left to
    /// the next one.
    pub(super) empty_left: usize,
    /// An attach that failed, and whose way back failed too.
    pub(super) needed_gc: Vec<String>,
    /// No memory.
    pub(super) aborted: usize,
}

impl Report {
    /// Points that all end in one way tell nothing of the others.
    pub(super) fn has_all(&self, series: Series, does: Does, which: Which, label: &str) {
        let wanted = match (series, does) {
            // The record is there before the first change of the kernel's, and few follow.
            (Series::Kill, _) if which.is_kernels() => {
                vec![("recovered", self.by.iter().sum())]
            }
            (Series::Kill, _) => vec![
                ("killed before anything had changed", self.untouched),
                ("recovered by del", self.by[0]),
                ("recovered by gc", self.by[1]),
                ("recovered by add", self.by[2]),
            ],
            (Series::Fail, Does::Attach) => vec![("taken back", self.undone)],
            // Of few messages, each may be one that is sent again.
            (Series::Fail, _) if which == Which::KernelsMessages => {
                vec![("taken away", self.harmless + self.finished_later)]
            }
            (Series::Fail, _) => vec![("taken away later", self.finished_later)],
        };
        for (how, points) in wanted {
            assert!(points > 0, "{label}: no point was {how}: {self:?}");
        }
    }
}
