//! A gateway with a store, prices, and one key that has a budget.

use std::net::{IpAddr, Ipv4Addr};

use gateway::{Accounting, BackgroundTasks, Caller, Gateway, Prices, Router};
use store::{Limits, NewKey, Store};

pub(crate) struct GatewayFixture {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) gateway: Gateway,
    pub(crate) background_tasks: BackgroundTasks,
    /// The caller with the key.
    pub(crate) alice: Caller,
}

impl GatewayFixture {
    /// Starts a gateway. The budgets are in nano-dollars.
    pub(crate) async fn start(
        router: Router,
        prices: &str,
        key_budget: Option<i64>,
        project_budget: Option<i64>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        let project = store.add_project("team", project_budget).await.unwrap();
        let limits = Limits { budget: key_budget, ..Limits::default() };
        let new = NewKey { project: &project, user: None, name: "alice", hash: &"ab".repeat(32), tail: "", limits };
        store.add_key(new).await.unwrap();
        let (journal, prices) = (folder.path().join("journal"), Prices::parse(prices).unwrap());
        let (accounting, background_tasks) = Accounting::open(store.clone(), &journal, prices, None).await.unwrap();
        let alice = accounting.keys.find(&[0xab; 32], IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap().unwrap().into();
        Self { _folder: folder, store, gateway: Gateway::new(router, accounting), background_tasks, alice }
    }
}
