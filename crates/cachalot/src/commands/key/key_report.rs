//! Keys as rows of a table, as lines and as JSON.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use store::{BudgetState, Key, Limits, Store, money};

use crate::period_args::{budget_fact, budgets_cell};
use crate::report::Report;

/// Keys with the names of their projects and users, and their budgets with a period.
pub(super) struct KeyReport {
    projects: HashMap<String, String>,
    users: HashMap<String, String>,
    budgets: BTreeMap<String, Vec<BudgetState>>,
}

impl KeyReport {
    /// # Errors
    /// A database that cannot be read.
    pub(super) async fn load(store: &Store) -> Result<Self> {
        let projects = store.projects().await?.into_iter().map(|project| (project.id, project.name)).collect();
        let users = store.users().await?.into_iter().map(|user| (user.id, user.name)).collect();
        Ok(Self { projects, users, budgets: store.budget_states().await? })
    }

    /// A table of keys.
    pub(super) fn table(&self, keys: &[Key]) -> Report {
        let titles = [
            "name",
            "project",
            "user",
            "key",
            "#spent USD",
            "#budget USD",
            "budgets that renew",
            "limits",
            "expires",
            "state",
        ];
        let mut report = Report::new(&titles);
        for key in keys {
            let cells = vec![
                key.name.clone(),
                self.project(key).unwrap_or_default().to_owned(),
                self.user(key).unwrap_or("-").to_owned(),
                format!("…{}", key.tail),
                money::format(key.spent, 6),
                key.limits.budget.map_or("-".to_owned(), |nano| money::format(nano, 6)),
                budgets_cell(self.budgets(key)),
                limits_text(&key.limits),
                key.limits.expires_at.map_or("never".to_owned(), time_text),
                state(key).to_owned(),
            ];
            report.push(cells, self.json(key));
        }
        report
    }

    /// Everything about a key, a line for each fact.
    pub(super) fn lines(&self, key: &Key) -> String {
        let list = |list: &Option<Vec<String>>| list.as_ref().map_or("all".to_owned(), |list| list.join(", "));
        let count = |count: Option<i64>| count.map_or("unlimited".to_owned(), |count| count.to_string());
        let dollars = |nano: i64| format!("${}", money::format(nano, 6));
        let limits = &key.limits;
        let budgets: Vec<_> = self.budgets(key).iter().map(budget_fact).collect();
        let mut facts = vec![
            ("name", key.name.clone()),
            ("id", key.id.clone()),
            ("key", format!("…{}", key.tail)),
            ("state", state(key).to_owned()),
            ("project", self.project(key).unwrap_or_default().to_owned()),
            ("user", self.user(key).unwrap_or("-").to_owned()),
            ("spent", dollars(key.spent)),
            ("budget", limits.budget.map_or("unlimited".to_owned(), dollars)),
        ];
        facts.extend(budgets.iter().map(|(name, value)| (name.as_str(), value.clone())));
        facts.extend([
            ("models", list(&limits.models)),
            ("networks", list(&limits.networks)),
            ("requests per minute", count(limits.requests_per_minute)),
            ("tokens per minute", count(limits.tokens_per_minute)),
            ("requests at the same time", count(limits.concurrency)),
            ("made", time_text(key.created_at)),
            ("expires", limits.expires_at.map_or("never".to_owned(), time_text)),
        ]);
        let line = |(name, value): (&str, String)| format!("{name:<26} {value}\n");
        facts.into_iter().map(line).collect()
    }

    /// The fields of the admin API, and the state.
    pub(super) fn json(&self, key: &Key) -> Value {
        let mut json = server::admin::key_json(key, self.project(key), self.user(key), self.budgets(key));
        json["state"] = state(key).into();
        json
    }

    fn budgets(&self, key: &Key) -> &[BudgetState] {
        self.budgets.get(&key.id).map(Vec::as_slice).unwrap_or_default()
    }

    fn project(&self, key: &Key) -> Option<&str> {
        self.projects.get(&key.project_id).map(String::as_str)
    }

    fn user(&self, key: &Key) -> Option<&str> {
        self.users.get(key.user_id.as_ref()?).map(String::as_str)
    }
}

/// Whether a key can be used now.
fn state(key: &Key) -> &'static str {
    match (key.revoked_at, key.limits.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= store::now_micros() => "expired",
        _ => "in use",
    }
}

/// The limits beside the budget, in a few words.
fn limits_text(limits: &Limits) -> String {
    let number = |limit: Option<i64>, unit: &str| limit.map(|limit| format!("{limit} {unit}"));
    let list = |list: &Option<Vec<String>>, what: &str| {
        let list = list.as_ref()?;
        Some(if list.len() == 1 { list[0].clone() } else { format!("{} {what}", list.len()) })
    };
    let parts = [
        number(limits.requests_per_minute, "rpm"),
        number(limits.tokens_per_minute, "tpm"),
        number(limits.concurrency, "at once"),
        list(&limits.models, "models"),
        list(&limits.networks, "networks"),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "-".into() } else { text }
}

fn time_text(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros);
    time.map_or_else(|_| micros.to_string(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}
