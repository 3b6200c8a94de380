//! From an estimate to a usage record: reservation, metering, settlement, journal and store.

pub(crate) mod accounting;
pub(crate) mod background;
pub(crate) mod billable_fields;
pub(crate) mod charge;
pub(crate) mod journal;
pub(crate) mod ledger;
pub(crate) mod metered_stream;
pub(crate) mod overdraft;
pub(crate) mod plausibility;
pub(crate) mod quarantine;
pub(crate) mod record_writer;
pub(crate) mod refusals;
pub(crate) mod request_events;
pub(crate) mod request_meter;
pub(crate) mod submitted_tasks;
pub(crate) mod task_cache;
pub(crate) mod usage_estimate;
mod usage_maintenance;
pub(crate) mod worst_case_cost;
