//! Settings that were changed by the admin API instead of the configuration file: providers,
//! aliases and prices.

use sqlx::Row;

use crate::{Store, StoreError, now_micros};

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `provider`, `alias` or `price`.
    pub kind: String,
    pub name: String,
    /// JSON with the fields of the configuration file.
    pub value: String,
}

impl Store {
    /// The number of changes so far, and all settings, ordered by kind and name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn settings(&self) -> Result<(i64, Vec<Setting>), StoreError> {
        // The version is read first: a change between the two reads is seen the next time.
        let version = self.settings_version().await?;
        let rows = sqlx::query("select kind, name, value from settings order by kind, name").fetch_all(&self.pool);
        let setting = |row: &sqlx::any::AnyRow| {
            Ok::<_, sqlx::Error>(Setting {
                kind: row.try_get("kind")?,
                name: row.try_get("name")?,
                value: row.try_get("value")?,
            })
        };
        Ok((version, rows.await?.iter().map(setting).collect::<Result<_, _>>()?))
    }

    /// The number of changes of settings so far.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn settings_version(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("select version from settings_version").fetch_one(&self.pool).await?;
        Ok(row.try_get("version")?)
    }

    /// Adds a setting, or replaces the one with this name.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn put_setting(&self, setting: &Setting) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let put = sqlx::query(
            "insert into settings (kind, name, value, changed_at) values ($1, $2, $3, $4)
             on conflict (kind, name) do update set value = excluded.value, changed_at = excluded.changed_at",
        );
        let put = put.bind(&setting.kind).bind(&setting.name).bind(&setting.value).bind(now_micros());
        put.execute(&mut *transaction).await?;
        sqlx::query("update settings_version set version = version + 1").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Removes a setting.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be written.
    pub async fn remove_setting(&self, kind: &str, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let remove = sqlx::query("delete from settings where kind = $1 and name = $2").bind(kind).bind(name);
        if remove.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("there is no {kind} `{name}` in the store")));
        }
        sqlx::query("update settings_version set version = version + 1").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }
}
