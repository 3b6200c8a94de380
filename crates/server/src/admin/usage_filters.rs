//! The parameters that choose records: the same for series and for lists.

use chat::Error;
use store::{OutcomeClass, RecordOwner, UsageFilter, UsageGroupBy};

use super::query::{Query, find_choice};

/// The parameters that are filters, each of which may be repeated.
pub(super) const FILTERS: &[&str] = &["key", "project", "model", "provider", "outcome"];

/// The parameter `by`, one of `groups`.
///
/// # Errors
/// `InvalidRequest` for any other value.
pub(super) fn read_group<const N: usize>(
    query: &Query,
    groups: [UsageGroupBy; N],
) -> Result<Option<UsageGroupBy>, Error> {
    query.choice("by", &groups.map(|by| (by.as_str(), by)))
}

/// Reads the [`FILTERS`] of what `owner` may see.
///
/// # Errors
/// `InvalidRequest` for an unknown class of outcomes, and for too many values.
pub(super) fn read_filter(query: &Query, owner: RecordOwner) -> Result<UsageFilter, Error> {
    let classes = OutcomeClass::ALL.map(|class| (class.as_str(), class));
    let outcomes = query.values("outcome")?;
    Ok(UsageFilter {
        owner,
        keys: query.values("key")?,
        projects: query.values("project")?,
        models: query.values("model")?,
        providers: query.values("provider")?,
        classes: outcomes.iter().map(|text| find_choice("outcome", text, &classes)).collect::<Result<_, _>>()?,
    })
}
