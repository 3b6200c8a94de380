//! The switch for how reasoning is shown.

/// How reasoning is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ReasoningDisplay {
    /// Dimmed on a terminal, between `<think>` tags in a pipe.
    Show,
    /// One line on a terminal, nothing in a pipe.
    Fold,
}
