//! Which records are read, as conditions in SQL.

use std::fmt::Write as _;

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use crate::OutcomeClass;

/// The keys whose records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOwner {
    /// All keys, and requests without a key of the store.
    Everyone,
    /// The keys of the user with this id.
    User(String),
    /// The key with this id.
    Key(String),
}

/// The records that are read. An empty list admits all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageFilter {
    pub owner: RecordOwner,
    /// Names or ids of keys.
    pub keys: Vec<String>,
    /// Names of projects.
    pub projects: Vec<String>,
    pub models: Vec<String>,
    pub providers: Vec<String>,
    pub classes: Vec<OutcomeClass>,
}

impl From<RecordOwner> for UsageFilter {
    fn from(owner: RecordOwner) -> Self {
        let (keys, projects, models) = (Vec::new(), Vec::new(), Vec::new());
        Self { owner, keys, projects, models, providers: Vec::new(), classes: Vec::new() }
    }
}

impl UsageFilter {
    /// Whether all records are read.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::from(RecordOwner::Everyone)
    }

    /// The conditions on a table that is named `u`, each after an `and`. `class` is the expression
    /// of its outcome class.
    pub(crate) fn conditions(&self, class: &str, parameters: &mut Parameters) -> String {
        let mut sql = String::new();
        match &self.owner {
            RecordOwner::Everyone => {}
            RecordOwner::User(id) => {
                let id = parameters.push(id);
                write!(sql, " and u.key_id in (select k.id from keys k where k.user_id = {id})")
                    .expect("a string takes every text");
            }
            RecordOwner::Key(id) => {
                write!(sql, " and u.key_id = {}", parameters.push(id)).expect("a string takes every text")
            }
        }
        let mut add = |template: &str, values: &[String]| {
            if !values.is_empty() {
                let list: Vec<_> = values.iter().map(|value| parameters.push(value)).collect();
                sql += &template.replace("{}", &list.join(", "));
            }
        };
        add(" and (u.key_name in ({}) or u.key_id in ({}))", &self.keys);
        add(" and u.project_id in (select named.id from projects named where named.name in ({}))", &self.projects);
        add(" and u.model in ({})", &self.models);
        add(" and u.upstream in ({})", &self.providers);
        if !self.classes.is_empty() {
            let classes: Vec<_> = self.classes.iter().map(|class| class.as_str()).collect();
            write!(sql, " and {class} in ('{}')", classes.join("', '")).expect("a string takes every text");
        }
        sql
    }
}

/// The parameters of a statement, which is put together from parts.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<Parameter>);

#[derive(Debug)]
enum Parameter {
    Integer(i64),
    Text(String),
}

impl Parameters {
    /// Adds a text. Returns its place in the statement.
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.0.push(Parameter::Text(text.to_owned()));
        format!("${}", self.0.len())
    }

    /// Adds a number. Returns its place in the statement.
    pub(crate) fn push_integer(&mut self, number: i64) -> String {
        self.0.push(Parameter::Integer(number));
        format!("${}", self.0.len())
    }

    /// Binds the parameters in their order.
    pub(crate) fn bind_to<'q>(self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        self.0.into_iter().fold(query, |query, parameter| match parameter {
            Parameter::Integer(number) => query.bind(number),
            Parameter::Text(text) => query.bind(text),
        })
    }
}
