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
    pub sums: BTreeMap<SeriesPoint, UsageSums>,
    /// The times of all groups by the beginning of the step.
    pub times_of_steps: BTreeMap<i64, UsageTimes>,
    /// The times of the whole span by the name of the group.
    pub times_of_groups: BTreeMap<String, UsageTimes>,
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
        let sums: BTreeMap<SeriesPoint, UsageSums> = self.sum_segments(&parts, None, Some(by), filter).await?;
        let total = |((_, group), sums): (SeriesPoint, UsageSums)| UsageTotal {
            group,
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

    /// The sums of each step and group, and the times of each step and of each group.
    ///
    /// Times have six times as many columns as sums. They are not read for each group of each step,
    /// because a database sorts what it groups.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage_series(&self, query: &SeriesQuery) -> Result<UsageSeries, StoreError> {
        let parts_of_steps = self.segments(query.from, query.until, query.step.source()).await?;
        let of_steps = self.sum_segments(&parts_of_steps, Some(query.step), None, &query.filter).await?;
        let mut of_groups = BTreeMap::<SeriesPoint, _>::new();
        if query.by.is_some() {
            let parts = self.segments(query.from, query.until, SumSource::Table(SumTable::Days)).await?;
            of_groups = self.sum_segments(&parts, None, query.by, &query.filter).await?;
        }
        Ok(UsageSeries {
            sums: self.sum_segments(&parts_of_steps, Some(query.step), query.by, &query.filter).await?,
            times_of_steps: of_steps.into_iter().map(|((at, _), times)| (at, times)).collect(),
            times_of_groups: of_groups.into_iter().map(|((_, group), times)| (group, times)).collect(),
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
        self.sum_segments(&parts, Some(query.step), query.by, &query.filter).await
    }

    async fn segments(&self, from: i64, until: i64, coarsest: SumSource) -> Result<Vec<Segment>, StoreError> {
        Ok(segments(from, until, self.usage_sums_pending().await?, coarsest))
    }

    /// The sums of parts of a span by step and group.
    async fn sum_segments<T: Summed>(
        &self,
        parts: &[Segment],
        step: Option<SeriesStep>,
        by: Option<UsageGroupBy>,
        filter: &UsageFilter,
    ) -> Result<BTreeMap<SeriesPoint, T>, StoreError> {
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
                by.map_or("cast('' as text)", UsageGroupBy::to_sql),
                T::columns(),
                part.rows_sql(&from, &until),
                by.map_or("", UsageGroupBy::joins),
                filter.conditions("u.outcome_class", &mut parameters),
                if by.is_some() { "1, 2" } else { "1" },
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
