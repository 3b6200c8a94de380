//! Sums of usage: read by group and time.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row};

use crate::sum_table::SumTable;
use crate::usage_filter::Parameters;
use crate::usage_source::{Segment, SumSource, segments};
use crate::usage_sums::Summed;
use crate::{DAY_MICROS, HOUR_MICROS, RecordOwner, Store, StoreError, UsageFilter, UsageSums, UsageTimes};

/// The column by which usage is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroupBy {
    Key,
    Project,
    /// The user of the key; empty for keys without a user.
    User,
    Model,
    Upstream,
    /// The class of the outcome.
    Outcome,
    /// UTC days.
    Day,
}

impl UsageGroupBy {
    /// The name for people and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Project => "project",
            Self::User => "user",
            Self::Model => "model",
            Self::Upstream => "provider",
            Self::Outcome => "outcome",
            Self::Day => "day",
        }
    }

    fn to_sql(self) -> &'static str {
        match self {
            Self::Key => "u.key_name",
            Self::Project => "coalesce(p.name, '')",
            Self::User => "coalesce(us.name, '')",
            Self::Model => "u.model",
            Self::Upstream => "u.upstream",
            Self::Outcome => "u.outcome_class",
            Self::Day => "cast(u.at / 86400000000 as text)",
        }
    }

    /// The tables that have the column.
    fn joins(self) -> &'static str {
        match self {
            Self::Project => "left join projects p on p.id = u.project_id",
            Self::User => "left join keys uk on uk.id = u.key_id left join users us on us.id = uk.user_id",
            _ => "",
        }
    }
}

/// The time between two points of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesStep {
    Minute,
    Hour,
    /// UTC days.
    Day,
}

impl SeriesStep {
    /// Microseconds.
    pub fn micros(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => HOUR_MICROS,
            Self::Day => DAY_MICROS,
        }
    }

    fn source(self) -> SumSource {
        match self {
            Self::Minute => SumSource::Records,
            Self::Hour => SumSource::Table(SumTable::Hours),
            Self::Day => SumSource::Table(SumTable::Days),
        }
    }
}

/// A series to be read.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// The beginning of the first step, in microseconds since 1970.
    pub from: i64,
    /// The end of the last step.
    pub until: i64,
    pub step: SeriesStep,
    pub by: Option<UsageGroupBy>,
    pub filter: UsageFilter,
}

/// The beginning of a step, in microseconds since 1970, and the name of a group. Without a step the
/// time is 0, without a group the name is empty.
pub type SeriesPoint = (i64, String);

/// The usage in the steps and groups of a series; those without records are missing.
#[derive(Clone, Debug, Default)]
pub struct UsageSeries {
    /// The names of the most expensive groups, in this order.
    pub groups: Vec<String>,
    /// The sums of each step by the name of the group; `None`: the sum of the groups that are not
    /// among the most expensive, or of all without groups.
    pub sums: BTreeMap<(i64, Option<String>), UsageSums>,
    /// The times of all groups by the beginning of the step.
    pub times_of_steps: BTreeMap<i64, UsageTimes>,
    /// The times of the whole span by the name of the group.
    pub times_of_groups: BTreeMap<String, UsageTimes>,
}

/// The groups of rows that are summed.
#[derive(Debug)]
enum Grouping {
    /// All rows are one group without a name.
    Together,
    By(UsageGroupBy),
    /// The groups of these names; the rows of all others are one group without a name.
    Listed(UsageGroupBy, Vec<String>),
}

impl Grouping {
    /// The expression of a group's name, or null.
    fn to_sql(&self, parameters: &mut Parameters) -> String {
        match self {
            Self::Together => "cast(null as text)".to_owned(),
            Self::By(by) => by.to_sql().to_owned(),
            Self::Listed(by, names) => {
                let names: Vec<_> = names.iter().map(|name| parameters.push(name)).collect();
                format!("case when {0} in ({1}) then {0} end", by.to_sql(), names.join(", "))
            }
        }
    }

    fn joins(&self) -> &'static str {
        match self {
            Self::Together => "",
            Self::By(by) | Self::Listed(by, _) => by.joins(),
        }
    }

    /// The positions of the columns that rows of a group share: the step, and the name.
    fn columns(&self) -> &'static str {
        if matches!(self, Self::Together) { "1" } else { "1, 2" }
    }
}

/// The names of the `top` groups with the highest cost, and with the most requests if it is equal.
fn most_expensive(totals: &BTreeMap<(i64, Option<String>), UsageSums>, top: usize) -> Vec<String> {
    let mut ranked: Vec<_> = totals.iter().map(|((_, name), sums)| (-sums.cost, -sums.requests, name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(top).filter_map(|(.., name)| name.clone()).collect()
}

/// The sums of a group of records. A sum beyond the range of `i64` is clamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTotal {
    /// The value that the records share; a day is the number of days since 1970.
    pub group: String,
    pub requests: i64,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    /// Nano-dollars.
    pub cost: i64,
}

impl Store {
    /// The sums of all records at `since` or later by group, the most expensive first.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage(&self, since: i64, by: UsageGroupBy) -> Result<Vec<UsageTotal>, StoreError> {
        self.usage_of(RecordOwner::Everyone, since, by).await
    }

    /// The same for the records of an owner.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_of(
        &self,
        owner: RecordOwner,
        since: i64,
        by: UsageGroupBy,
    ) -> Result<Vec<UsageTotal>, StoreError> {
        self.usage_totals(&owner.into(), since, i64::MAX, by).await
    }

    /// The sums of all records at `since` or later and before `until`.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_between(&self, since: i64, until: i64, by: UsageGroupBy) -> Result<Vec<UsageTotal>, StoreError> {
        self.usage_totals(&RecordOwner::Everyone.into(), since, until, by).await
    }

    async fn usage_totals(
        &self,
        filter: &UsageFilter,
        since: i64,
        until: i64,
        by: UsageGroupBy,
    ) -> Result<Vec<UsageTotal>, StoreError> {
        let parts = self.segments(since, until, SumSource::Table(SumTable::Days)).await?;
        let sums = self.sum_segments::<UsageSums>(&parts, None, &Grouping::By(by), filter).await?;
        let total = |((_, group), sums): ((i64, Option<String>), UsageSums)| UsageTotal {
            group: group.unwrap_or_default(),
            requests: sums.requests,
            prompt_tokens: sums.prompt_tokens,
            cached_tokens: sums.cached_tokens,
            completion_tokens: sums.completion_tokens,
            cost: sums.saturating_cost(),
        };
        let mut totals: Vec<_> = sums.into_iter().map(total).collect();
        totals.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.group.cmp(&b.group)));
        Ok(totals)
    }

    /// The number of requests of a project.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(crate) async fn requests_of_project(&self, name: &str) -> Result<i64, StoreError> {
        let filter = UsageFilter { projects: vec![name.to_owned()], ..RecordOwner::Everyone.into() };
        let totals = self.usage_totals(&filter, 0, i64::MAX, UsageGroupBy::Project).await?;
        Ok(totals.iter().map(|total| total.requests).sum())
    }

    /// The sums of each step for the `top` most expensive groups and for the rest, and the times of
    /// each step and of each group.
    ///
    /// Times have six times as many columns as sums. They are not read for each group of each step,
    /// because a database sorts what it groups.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_series(&self, query: &SeriesQuery, top: usize) -> Result<UsageSeries, StoreError> {
        let SeriesQuery { from, until, step, by, ref filter } = *query;
        let mut grouping = Grouping::Together;
        let mut groups = Vec::new();
        let mut times_of_groups = BTreeMap::new();
        if let Some(by) = by {
            let parts = self.segments(from, until, SumSource::Table(SumTable::Days)).await?;
            times_of_groups = self.sum_segments(&parts, None, &Grouping::By(by), filter).await?;
            let totals = self.sum_segments(&parts, None, &Grouping::By(by), filter).await?;
            groups = most_expensive(&totals, top);
            if !groups.is_empty() {
                grouping = Grouping::Listed(by, groups.clone());
            }
        }
        let parts = self.segments(from, until, step.source()).await?;
        let of_steps = self.sum_segments(&parts, Some(step), &Grouping::Together, filter).await?;
        let named = |((_, group), times): ((i64, Option<String>), UsageTimes)| Some((group?, times));
        Ok(UsageSeries {
            groups,
            sums: self.sum_segments(&parts, Some(step), &grouping, filter).await?,
            times_of_steps: of_steps.into_iter().map(|((at, _), times)| (at, times)).collect(),
            times_of_groups: times_of_groups.into_iter().filter_map(named).collect(),
        })
    }

    /// The sums of each step and group.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_sums(&self, query: &SeriesQuery) -> Result<BTreeMap<SeriesPoint, UsageSums>, StoreError> {
        self.sum_points(query).await
    }

    /// The times of each step and group.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_times(&self, query: &SeriesQuery) -> Result<BTreeMap<SeriesPoint, UsageTimes>, StoreError> {
        self.sum_points(query).await
    }

    async fn sum_points<T: Summed>(&self, query: &SeriesQuery) -> Result<BTreeMap<SeriesPoint, T>, StoreError> {
        let parts = self.segments(query.from, query.until, query.step.source()).await?;
        let grouping = query.by.map_or(Grouping::Together, Grouping::By);
        let sums = self.sum_segments(&parts, Some(query.step), &grouping, &query.filter).await?;
        Ok(sums.into_iter().map(|((at, group), sums)| ((at, group.unwrap_or_default()), sums)).collect())
    }

    async fn segments(&self, from: i64, until: i64, coarsest: SumSource) -> Result<Vec<Segment>, StoreError> {
        Ok(segments(from, until, self.usage_sums_pending().await?, coarsest))
    }

    /// The sums of parts of a span by step and group.
    async fn sum_segments<T: Summed>(
        &self,
        parts: &[Segment],
        step: Option<SeriesStep>,
        grouping: &Grouping,
        filter: &UsageFilter,
    ) -> Result<BTreeMap<(i64, Option<String>), T>, StoreError> {
        let mut sums = BTreeMap::<_, T>::new();
        for part in parts {
            let mut parameters = Parameters::default();
            let (from, until) = (parameters.push_integer(part.from), parameters.push_integer(part.until));
            // A row of a table of sums with this step begins where the step does. SQLite reads such
            // rows in their order, and sorts nothing.
            let at = match step {
                None => "cast(0 as bigint)".to_owned(),
                Some(step) if part.source == step.source() && step != SeriesStep::Minute => "u.at".to_owned(),
                Some(step) => format!("cast(u.at / {0} * {0} as bigint)", step.micros()),
            };
            let select = format!(
                "select {at} as step, {} as shared, {} from {} {} where 1 = 1{} group by {}",
                grouping.to_sql(&mut parameters),
                T::columns(),
                part.rows_sql(&from, &until),
                grouping.joins(),
                filter.conditions("u.outcome_class", &mut parameters),
                grouping.columns(),
            );
            let rows = parameters.bind_to(sqlx::query(AssertSqlSafe(select))).fetch_all(&self.pool).await?;
            for row in rows {
                let point = (row.try_get("step")?, row.try_get("shared")?);
                *sums.entry(point).or_default() += &T::from_row(&row)?;
            }
        }
        Ok(sums)
    }
}
