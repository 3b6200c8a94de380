//! A gateway with a store, prices, and one key that has a budget.

use std::net::{IpAddr, Ipv4Addr};

use gateway::{Bookkeepers, Books, Caller, Gateway, Prices, Routes};
use store::{Limits, NewKey, Store};

pub(crate) struct Office {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) gateway: Gateway,
    pub(crate) keepers: Bookkeepers,
    /// The caller with the key.
    pub(crate) alice: Caller,
}

impl Office {
    /// `key` and `team` are the budgets of the key and of its project, in nano-dollars.
    pub(crate) async fn open(routes: Routes, prices: &str, key: Option<i64>, team: Option<i64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        let project = store.add_project("team", team).await.unwrap();
        let limits = Limits { budget: key, ..Limits::default() };
        let new = NewKey { project: &project, user: None, name: "alice", hash: &"ab".repeat(32), tail: "", limits };
        store.add_key(new).await.unwrap();
        let (journal, prices) = (folder.path().join("journal"), Prices::read(prices).unwrap());
        let (books, keepers) = Books::open(store.clone(), &journal, prices, None).await.unwrap();
        let alice = books.accounts.find(&[0xab; 32], IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap().unwrap().into();
        Self { _folder: folder, store, gateway: Gateway::new(routes, books), keepers, alice }
    }
}
