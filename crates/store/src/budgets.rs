//! Budgets with a period, of keys, projects and users, and of the end users of keys. The budget
//! without a period that a key or a project has beside them is a column of its own.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::{BudgetPeriod, BudgetWindow, BudgetZone, Key, Project, Store, StoreError, User, money};

/// The most budgets of one owner.
pub const MAX_BUDGETS: usize = 100;
/// The longest name of an end user, in bytes.
pub const MAX_END_USER_BYTES: usize = 256;

/// The owner of budgets. The requests of a user are those of the user's keys.
#[derive(Clone, Copy, Debug)]
pub enum BudgetOwner<'a> {
    Key(&'a Key),
    Project(&'a Project),
    User(&'a User),
}

impl BudgetOwner<'_> {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Key(key) => &key.id,
            Self::Project(project) => &project.id,
            Self::User(user) => &user.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(key) => &key.name,
            Self::Project(project) => &project.name,
            Self::User(user) => &user.name,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Project(_) => "project",
            Self::User(_) => "user",
        }
    }
}

/// The requests that a budget counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetScope {
    /// All requests of the owner.
    Owner,
    /// The requests of each end user of a key, each alone, except for end users with budgets of
    /// their own.
    EachEndUser,
    /// The requests of one end user of a key.
    EndUser(String),
}

impl BudgetScope {
    /// Whether a budget of this scope counts a request of `end_user`. `is_named`: the owner has a
    /// budget for this end user.
    pub fn counts(&self, end_user: Option<&str>, is_named: bool) -> bool {
        match self {
            Self::Owner => true,
            Self::EachEndUser => end_user.is_some() && !is_named,
            Self::EndUser(_) => self.names(end_user),
        }
    }

    /// Whether a budget of this scope is for this end user alone.
    pub fn names(&self, end_user: Option<&str>) -> bool {
        matches!(self, Self::EndUser(name) if end_user == Some(name))
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::EachEndUser => "each",
            Self::EndUser(_) => "one",
        }
    }
}

/// The terms of a budget. Amounts are in nano-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTerms {
    pub scope: BudgetScope,
    pub period: BudgetPeriod,
    pub zone: BudgetZone,
    /// The most that may be spent in a window. `None`: nothing is refused.
    pub amount: Option<i64>,
    /// The amount from which the log warns.
    pub warn_at: Option<i64>,
}

/// A budget in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub id: String,
    /// The id of the key, the project or the user.
    pub owner_id: String,
    pub terms: BudgetTerms,
    pub is_removed: bool,
    pub changed_at: i64,
}

/// A budget, and what was spent of it in the window of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetState {
    pub budget: Budget,
    pub window: BudgetWindow,
    /// Nano-dollars. `None` for a budget that counts each end user alone.
    pub spent: Option<i64>,
}

/// Checks budgets that one owner is to have. `of_key`: the owner is a key.
///
/// # Errors
/// A message that names what is wrong.
pub fn check_budgets(budgets: &[BudgetTerms], of_key: bool) -> Result<(), String> {
    if budgets.len() > MAX_BUDGETS {
        return Err(format!("there are {} budgets, and at most {MAX_BUDGETS} are possible", budgets.len()));
    }
    for (index, terms) in budgets.iter().enumerate() {
        let name = terms.period.as_str();
        match (terms.amount, terms.warn_at) {
            (None, None) => {
                return Err(format!("the budget `{name}` has neither an amount nor one from which to warn"));
            }
            (Some(amount), Some(warn_at)) if warn_at > amount => {
                let (warn_at, amount) = (money::format(warn_at, 2), money::format(amount, 2));
                return Err(format!("the budget `{name}` would warn at ${warn_at}, above its amount of ${amount}"));
            }
            _ => {}
        }
        if terms.scope != BudgetScope::Owner && !of_key {
            return Err("only keys have budgets of end users".into());
        }
        if let BudgetScope::EndUser(end_user) = &terms.scope
            && (end_user.is_empty() || !is_end_user(end_user))
        {
            return Err(format!(
                "the name of an end user has 1 to {MAX_END_USER_BYTES} bytes without control characters"
            ));
        }
        if budgets[..index].iter().any(|other| (&other.scope, other.period) == (&terms.scope, terms.period)) {
            return Err(format!("there are two budgets `{name}`: one is possible"));
        }
    }
    Ok(())
}

/// Whether the store takes a text as the name of an end user.
pub fn is_end_user(name: &str) -> bool {
    name.len() <= MAX_END_USER_BYTES && !name.chars().any(char::is_control)
}

impl Store {
    /// The budgets with a period that an owner has.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn budgets(&self, owner: BudgetOwner<'_>) -> Result<Vec<Budget>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        budgets_of(&mut transaction, owner.id()).await
    }

    /// The budgets that were changed or removed at `since` or later.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn budgets_changed(&self, since: i64) -> Result<Vec<Budget>, StoreError> {
        let rows = sqlx::query("select * from budgets where changed_at >= $1 order by id").bind(since);
        Ok(rows.fetch_all(&self.pool).await?.iter().map(budget_from_row).collect::<Result<_, _>>()?)
    }
}

/// The budgets of the owner with this id that are not removed.
pub(crate) async fn budgets_of(
    transaction: &mut Transaction<'_, Any>,
    owner_id: &str,
) -> Result<Vec<Budget>, StoreError> {
    let rows = sqlx::query("select * from budgets where owner_id = $1 and removed_at is null order by id");
    let rows = rows.bind(owner_id).fetch_all(&mut **transaction).await?;
    Ok(rows.iter().map(budget_from_row).collect::<Result<_, _>>()?)
}

pub(crate) fn budget_from_row(row: &AnyRow) -> Result<Budget, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    let unknown = |column: &str, value: String| sqlx::Error::Decode(format!("unknown {column} `{value}`").into());
    let (scope, period) = (text("scope")?, text("period")?);
    let terms = BudgetTerms {
        scope: match scope.as_str() {
            "owner" => BudgetScope::Owner,
            "each" => BudgetScope::EachEndUser,
            "one" => BudgetScope::EndUser(text("end_user")?),
            _ => return Err(unknown("scope", scope)),
        },
        period: BudgetPeriod::parse(&period).ok_or_else(|| unknown("period", period))?,
        zone: BudgetZone::parse(&text("time_zone")?).map_err(|message| sqlx::Error::Decode(message.into()))?,
        amount: row.try_get("amount")?,
        warn_at: row.try_get("warn_at")?,
    };
    let is_removed = row.try_get::<Option<i64>, _>("removed_at")?.is_some();
    Ok(Budget {
        id: text("id")?,
        owner_id: text("owner_id")?,
        terms,
        is_removed,
        changed_at: row.try_get("changed_at")?,
    })
}
