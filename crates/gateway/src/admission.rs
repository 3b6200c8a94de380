//! Admission: what happens to every request before a provider receives it, in the order that keeps
//! budgets safe.
//!
//! 1. [`Admission::open`]: the request counts in the metrics of its model.
//! 2. [`Admission::reserve`]: limits are checked, and what the request may cost is reserved.
//! 3. The caller's own checks, with the output cap that the reservation sets: local validation, or
//!    the rewriting of a body.
//! 4. [`Admitted::begin`]: the journal records the request. Only this step returns the
//!    [`SelectedTarget`] that failover needs, so that no provider receives a request that a restart
//!    would not find.
//!
//! A request that fails at one of these steps is counted with its outcome, and costs nothing.

use std::sync::Arc;

use chat::Error;

use crate::billing::accounting::Accounting;
use crate::billing::charge::Charge;
use crate::billing::overdraft::Overdraft;
use crate::billing::request_meter::RequestMeter;
use crate::billing::usage_estimate::UsageEstimate;
use crate::keys::caller::Caller;
use crate::request_id::RequestId;
use crate::routing::route::Route;
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::Target;

/// A request without a reservation.
pub(crate) struct Admission {
    accounting: Arc<Accounting>,
    overdraft: Overdraft,
    model: Arc<str>,
    meter: RequestMeter,
}

/// A request with a reservation, which no provider has received. Dropping it releases the
/// reservation.
pub(crate) struct Admitted {
    request_id: Option<Arc<RequestId>>,
    charge: Charge,
    meter: RequestMeter,
}

impl Admission {
    /// Starts the metrics of a request to the model of `route`.
    pub(crate) fn open(accounting: &Arc<Accounting>, overdraft: Overdraft, route: &Route) -> Self {
        Self {
            accounting: accounting.clone(),
            overdraft,
            model: route.id.clone(),
            meter: RequestMeter::start(&route.model_metrics),
        }
    }

    /// Returns `result`, and records an error as the outcome of the request.
    pub(crate) fn record_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.meter.record_error(result)
    }

    /// Checks the limits of the caller's key, and reserves what the request may cost at the most
    /// expensive of `targets`, which are in the order in which they will be tried. `end_user` is
    /// the name of the end user in the request.
    ///
    /// # Errors
    /// As [`Charge::admit`].
    pub(crate) async fn reserve(
        mut self,
        caller: &Caller,
        targets: &[Target],
        estimate: UsageEstimate,
        end_user: Option<&str>,
    ) -> Result<Admitted, Error> {
        let charge = Charge::admit(&self.accounting, caller, &self.model, targets, estimate, self.overdraft, end_user);
        let charge = charge.await;
        let charge = self.meter.record_error(charge)?;
        Ok(Admitted { request_id: caller.request_id.clone(), charge, meter: self.meter })
    }
}

impl Admitted {
    /// Returns `result`, and records an error as the outcome of the request.
    pub(crate) fn record_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.meter.record_error(result)
    }

    /// Most tokens of an answer that the caller's budget allows, for a request that sets no limit.
    pub(crate) fn output_cap(&self) -> Option<u64> {
        self.charge.output_cap
    }

    /// Records in the journal that a provider is about to receive the request. From now on the
    /// meter settles the charge, also when it is dropped.
    ///
    /// # Errors
    /// `Overloaded` when the journal cannot be written.
    pub(crate) fn begin(mut self) -> Result<(RequestMeter, SelectedTarget), Error> {
        self.meter.record_error(self.charge.record_start())?;
        if let Some(request) = &self.request_id {
            request.mark_recorded();
        }
        let selected = self.charge.selected_target();
        self.meter.attach_charge(self.charge);
        Ok((self.meter, selected))
    }
}
