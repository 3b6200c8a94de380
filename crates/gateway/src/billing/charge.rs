//! The charge of one request: reserved before the request starts, written to the journal, and
//! settled once.

use std::sync::Arc;

use chat::{Error, ErrorKind, Usage};
use metrics::counter;
use store::{TaskId, UsageRecord};

use crate::Caller;
use crate::billing::accounting::Accounting;
use crate::billing::journal::JournalRef;
use crate::billing::overdraft::{self, Overdraft};
use crate::billing::plausibility::{MAX_COST, UsageBounds, clamp_parts, format_count};
use crate::billing::usage_estimate::UsageEstimate;
use crate::billing::worst_case_cost::WorstCaseCost;
use crate::limits::budget::Budget;
use crate::limits::key_limits::Permit;
use crate::pricing::{Price, Quantity};
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::Target;

/// The charge of one request.
pub(crate) struct Charge {
    accounting: Arc<Accounting>,
    permit: Option<Permit>,
    selected: SelectedTarget,
    record: UsageRecord,
    stage: ChargeStage,
    /// The images or videos, and the seconds, that are billed beside tokens. Zero for a task that
    /// was billed already.
    billed_quantity: Quantity,
    /// Billable pieces received. Without a final report of usage, each counts as one token.
    pieces: u64,
    /// The reported usage counts the whole answer.
    is_usage_final: bool,
    /// The estimate from before the request.
    estimate: UsageEstimate,
    /// The provider reported implausible usage.
    implausible: bool,
    /// The output tokens of each answer that the reservation covers. They are sent to the provider
    /// as the limit, if the request has none.
    pub(crate) output_cap: Option<u64>,
}

enum ChargeStage {
    /// Admitted. No provider was called, and nothing is written.
    Admitted,
    /// The start is in the journal, where the reference locates it; `None` on a server
    /// without a store.
    Started(Option<JournalRef>),
}

impl Charge {
    /// Reserves what a request may cost. `targets` are in the order in which they are tried, and
    /// there is at least one. `overdraft` says how far the request may take the budget below zero.
    /// `end_user` is the name of the end user in the request.
    ///
    /// # Errors
    /// `InvalidRequest` for a fixed cost above the maximum of one request; `InsufficientBalance` or
    /// `RateLimited`; `Overloaded` when shared limits cannot be checked.
    pub(crate) async fn admit(
        accounting: &Arc<Accounting>,
        caller: &Caller,
        model: &Arc<str>,
        targets: &[Target],
        estimate: UsageEstimate,
        overdraft: Overdraft,
        end_user: Option<&str>,
    ) -> Result<Self, Error> {
        let at = store::now_micros();
        let prompt_usage = estimate.prompt_usage();
        let full_usage = Usage { completion_tokens: estimate.output_tokens(), ..prompt_usage };
        // Any of the targets may answer, so the most expensive one counts.
        let prices = || targets.iter().filter_map(|target| target.price.as_ref());
        let cost = |usage| {
            let cost = prices().map(|price| price.cost(usage, estimate.quantity, at)).max().unwrap_or(0);
            estimate.batch_cost.unwrap_or(cost)
        };
        let worst_case = prices().map(|price| price.worst_case(estimate.max_prompt_tokens, estimate.quantity, at));
        let worst_case = match estimate.batch_cost {
            Some(cost) => WorstCaseCost { fixed: cost.into(), ..WorstCaseCost::default() },
            None => worst_case.reduce(WorstCaseCost::max).unwrap_or_default(),
        };
        if worst_case.fixed > MAX_COST.into() {
            let max_cost = store::money::format(MAX_COST, 0);
            return Err(Error::invalid(format!(
                "The request would cost more than ${max_cost}, the maximum of one request"
            )));
        }
        let end_user = caller.api_key.as_ref().and_then(|api_key| api_key.counted_end_user(end_user));
        let mut output_cap = None;
        let permit = match &caller.api_key {
            Some(api_key) => {
                // Without a budget there is nothing to overdraw.
                let overdraft = if api_key.limits.has_budget() { overdraft } else { Overdraft::LastRequest };
                let budget_request = overdraft.budget_request(worst_case, cost(&full_usage), &estimate, targets);
                let reservation = overdraft::reservation_request(&estimate, budget_request, at);
                let budgets = api_key.limits.budgets(at, end_user.as_deref());
                let admitted = accounting.admit(api_key, &budgets, reservation).await;
                let permit = admitted
                    .map_err(|error| with_affordable_max_tokens(error, overdraft, worst_case, &budgets, &estimate))?;
                output_cap = overdraft.output_cap(worst_case, permit.reserved_amount(), &estimate, targets);
                Some(permit)
            }
            None => None,
        };
        let record = UsageRecord {
            model: model.clone(),
            upstream: targets[0].provider.clone(),
            prompt_tokens: recorded_count(prompt_usage.prompt_tokens),
            // Booked if the server is killed before the settlement.
            cost: cost(&prompt_usage),
            price: price_name(targets[0].price.as_ref()),
            end_user,
            ..caller.new_record(at)
        };
        Ok(Self {
            accounting: accounting.clone(),
            permit,
            selected: SelectedTarget::new(targets),
            record,
            stage: ChargeStage::Admitted,
            billed_quantity: estimate.quantity,
            pieces: 0,
            is_usage_final: false,
            estimate,
            implausible: false,
            output_cap,
        })
    }

    /// Writes the start of the request to the journal. This precedes the call of a provider.
    ///
    /// # Errors
    /// `Overloaded` when the journal cannot be written.
    pub(crate) fn record_start(&mut self) -> Result<(), Error> {
        self.stage = ChargeStage::Started(self.accounting.record_start(&self.record)?);
        Ok(())
    }

    /// The cell in which the failover stores the target that answers.
    pub(crate) fn selected_target(&self) -> SelectedTarget {
        self.selected.clone()
    }

    /// Records that the target that answers has failed.
    pub(crate) fn record_fault(&self, error: &Error) {
        self.selected.attempts().record_fault(error);
    }

    /// Sets the billable pieces received so far, and whether the reported usage counts the whole
    /// answer.
    pub(crate) fn record_pieces(&mut self, pieces: u64, is_usage_final: bool) {
        (self.pieces, self.is_usage_final) = (pieces, is_usage_final);
    }

    /// Records that the provider accepted a task. Only a new task is billed.
    pub(crate) fn record_task(&mut self, task: TaskId, provider_task_id: String, is_new: bool) {
        self.record.job = Some(task);
        self.record.provider_job = Some(provider_task_id);
        if !is_new {
            self.billed_quantity = Quantity { calls: 0, seconds: 0 };
        }
    }

    /// Checks the usage that the provider reported. Plausible usage is returned with its parts
    /// clamped to the whole. The first implausible report of a request is logged and counts as a
    /// failure of the provider. From then on the request is settled by estimate, and no count of
    /// the provider is used.
    ///
    /// # Errors
    /// The estimate, for token counts or a cost that are implausible.
    pub(crate) fn check_reported_usage(&mut self, usage: Usage) -> Result<Usage, Usage> {
        if self.implausible {
            return Err(self.estimated_usage());
        }
        let target = self.selected.current();
        let implausible_count = self.usage_bounds().implausible_count(&usage);
        let usage = clamp_parts(usage);
        let excessive_cost = || {
            let cost = target.price.as_ref()?.unclamped_cost(&usage, self.billed_quantity, self.record.at);
            (cost > MAX_COST.into()).then(|| ("cost", u64::try_from(cost).unwrap_or(u64::MAX)))
        };
        let Some((count, value)) = implausible_count.or_else(excessive_cost) else { return Ok(usage) };
        self.implausible = true;
        target.breaker.record_failure(None, format!("implausible usage: {count}"));
        counter!("cachalot_usage_reports_implausible_total", "provider" => target.provider.to_string()).increment(1);
        tracing::warn!(
            provider = &*target.provider,
            model = &*self.record.model,
            id = self.record.id,
            count,
            value = format_count(value),
            "provider reported implausible usage: the request is settled by estimate"
        );
        Err(self.estimated_usage())
    }

    /// The plausible token counts for the target that answers. The context bounds one input, so it
    /// is not a bound for several.
    fn usage_bounds(&self) -> UsageBounds {
        let context = self.selected.current().context_tokens.filter(|_| !self.estimate.has_multiple_inputs);
        UsageBounds::new(context, self.estimate.max_output_tokens, self.estimate.answers)
    }

    /// The usage estimated from the request and the pieces received.
    fn estimated_usage(&self) -> Usage {
        let allowed =
            self.estimate.max_output_tokens.map_or(u64::MAX, |tokens| tokens.saturating_mul(self.estimate.answers));
        let allowed = allowed.min(self.usage_bounds().max_output());
        Usage { completion_tokens: self.pieces.min(allowed), ..self.estimate.prompt_usage() }
    }

    /// The usage to bill. A report from before the end counts the prompt, but not
    /// all of the output.
    fn billed_usage(&self, reported: Option<Usage>, has_output: bool) -> Usage {
        match reported.filter(|_| !self.implausible) {
            Some(usage) if self.is_usage_final => usage,
            _ if !has_output => Usage::default(),
            Some(usage) => {
                let received = self.estimated_usage().completion_tokens;
                Usage { completion_tokens: usage.completion_tokens.max(received), ..usage }
            }
            None => self.estimated_usage(),
        }
    }

    /// Settles by the reported usage. Without a usable report it uses the estimate; if no output
    /// arrived, the prompt is free. A charge whose start was never written leaves no record, and
    /// dropping its permit releases the reservation.
    pub(crate) fn settle(mut self, usage: Option<Usage>, timings: Timings, outcome: &'static str) {
        let has_output = timings.first_token_us.is_some();
        let counted = self.billed_usage(usage, has_output);
        let ChargeStage::Started(start_ref) = self.stage else { return };
        let is_free = counted == Usage::default() && !has_output;
        let mut record = self.record;
        let target = self.selected.current();
        record.upstream = target.provider.clone();
        record.price = price_name(target.price.as_ref());
        record.cost = match &target.price {
            Some(price) if !is_free => {
                let cost = || price.cost(&counted, self.billed_quantity, record.at);
                self.estimate.batch_cost.unwrap_or_else(cost)
            }
            _ => 0,
        };
        if let Some(permit) = &mut self.permit {
            permit.settle(counted.prompt_tokens.saturating_add(counted.completion_tokens), record.cost);
        }
        record.prompt_tokens = recorded_count(counted.prompt_tokens);
        record.cached_tokens = recorded_count(counted.cached_tokens);
        record.cache_write_tokens = recorded_count(counted.cache_write_tokens);
        record.cache_write_1h_tokens = recorded_count(counted.cache_write_1h_tokens);
        record.completion_tokens = recorded_count(counted.completion_tokens);
        record.reasoning_tokens = recorded_count(counted.reasoning_tokens.unwrap_or(0));
        record.extra_counts =
            counted.extra.iter().map(|(count, value)| (count.name.into(), recorded_count(value))).collect();
        record.service_tier = counted.service_tier.map(|tier| tier.as_str().into());
        let is_reported = usage.is_some() && self.is_usage_final;
        record.estimated = self.implausible || !(is_reported || is_free);
        record.first_token_us = timings.first_token_us;
        record.total_us = timings.total_us;
        record.outcome = outcome.into();
        record.attempts = self.selected.attempts().take();
        self.accounting.record_end(record, start_ref);
    }
}

/// Adds to an `InsufficientBalance` error the largest `max_tokens` that the balance allows.
fn with_affordable_max_tokens(
    mut error: Error,
    overdraft: Overdraft,
    worst_case: WorstCaseCost,
    budgets: &[Arc<Budget>],
    estimate: &UsageEstimate,
) -> Error {
    let affordable_tokens = overdraft.affordable_max_tokens(worst_case, budgets, estimate);
    if let Some(tokens) = affordable_tokens.filter(|_| error.kind == ErrorKind::InsufficientBalance) {
        error.message = format!("{}: a `max_tokens` of at most {tokens} would fit", error.message);
    }
    error
}

/// Clamps a token count to the maximum of the store.
pub(crate) fn recorded_count(count: u64) -> i64 {
    i64::try_from(count).map_or(store::MAX_TOKENS, |count| count.min(store::MAX_TOKENS))
}

/// Times since the start of the request, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    /// `None` if no output arrived.
    pub(crate) first_token_us: Option<i64>,
    pub(crate) total_us: i64,
}

/// The name of a price in records; empty without a price.
fn price_name(price: Option<&Arc<Price>>) -> Arc<str> {
    price.map(|price| price.name.clone()).unwrap_or_default()
}
