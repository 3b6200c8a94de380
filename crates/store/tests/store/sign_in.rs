//! Passwords, sessions, one-time links and members of projects, on SQLite, and on PostgreSQL when
//! `CACHALOT_TEST_POSTGRES` names a server on which databases may be created.

use std::collections::BTreeSet;

use store::{
    Invitation, Limits, LinkKind, NewKey, NewSession, NewUserRights, Role, SESSION_IDLE_MICROS, SESSION_MAX_MICROS,
    StoreError, now_micros,
};

use crate::databases::on_each_database;

fn new_session<'a>(token_hash: &'a str, user: &'a store::User) -> NewSession<'a> {
    NewSession { token_hash, user: Some(user), address: "127.0.0.1", user_agent: "test", ..NewSession::default() }
}

#[tokio::test]
async fn a_session_ends_12_hours_after_its_last_use_and_after_30_days() {
    on_each_database(async |store, _| {
        let olga = store.add_user("olga", Role::Viewer).await.unwrap();
        let session = store.add_session(new_session("h1", &olga)).await.unwrap();
        assert_eq!(session.expires_at(), session.created_at + SESSION_IDLE_MICROS);
        let at = async |time: i64| store.session("h1", session.created_at + time).await.unwrap().is_some();
        assert!(at(0).await && at(SESSION_IDLE_MICROS - 1).await && !at(SESSION_IDLE_MICROS).await);
        assert_eq!(store.session("h1", session.created_at).await.unwrap(), Some(session.clone()));
        // A session in use lasts, but not for ever.
        let used = session.created_at + SESSION_MAX_MICROS - 1;
        store.touch_session(&session.id, used).await.unwrap();
        store.touch_session(&session.id, used - 5).await.unwrap();
        assert!(at(SESSION_MAX_MICROS - 1).await && !at(SESSION_MAX_MICROS).await);
        let touched = store.session("h1", used).await.unwrap().unwrap();
        assert_eq!((touched.used_at, touched.expires_at()), (used, session.created_at + SESSION_MAX_MICROS));
        assert_eq!(store.sessions(Some(&olga.id), used).await.unwrap().len(), 1);
        assert!(store.sessions(None, used + 1).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn sessions_end_with_the_role_the_password_and_the_user() {
    on_each_database(async |store, _| {
        let now = now_micros();
        let (ada, olga) =
            (store.add_user("ada", Role::Admin).await.unwrap(), store.add_user("olga", Role::Viewer).await.unwrap());
        let count = async || store.sessions(Some(&olga.id), now).await.unwrap().len();
        store.add_session(new_session("a1", &ada)).await.unwrap();
        let first = store.add_session(new_session("o1", &olga)).await.unwrap();
        store.add_session(new_session("o2", &olga)).await.unwrap();
        store.update_user("olga", Role::Viewer, false).await.unwrap();
        assert_eq!(count().await, 2, "nothing has changed");
        store.set_password(&olga, "hash", Some(&first.id)).await.unwrap();
        assert_eq!(store.sessions(Some(&olga.id), now).await.unwrap()[0].id, first.id);
        store.update_user("olga", Role::Member, false).await.unwrap();
        assert_eq!(count().await, 0);
        store.add_session(new_session("o3", &olga)).await.unwrap();
        store.update_user("olga", Role::Member, true).await.unwrap();
        assert_eq!((count().await, store.password("olga").await.unwrap()), (0, None));
        assert_eq!(store.sessions(None, now).await.unwrap().len(), 1, "ada's session goes on");
    })
    .await;
}

#[tokio::test]
async fn a_session_of_the_admin_token_has_no_user() {
    on_each_database(async |store, _| {
        let now = now_micros();
        let of_token = |token_hash, admin_token| NewSession { token_hash, admin_token, ..NewSession::default() };
        let session = store.add_session(of_token("t1", Some("digest"))).await.unwrap();
        store.add_session(of_token("t2", Some("digest"))).await.unwrap();
        store.add_session(of_token("t3", Some("another"))).await.unwrap();
        assert_eq!(store.session("t1", now).await.unwrap().unwrap().admin_token.as_deref(), Some("digest"));
        store.replace_session_token(&session.id, "t4").await.unwrap();
        assert_eq!(store.session("t1", now).await.unwrap(), None, "the former token is not valid");
        assert!(store.session("t4", now).await.unwrap().is_some());
        store.end_sessions_like(&session).await.unwrap();
        assert_eq!(store.sessions(None, now).await.unwrap()[0].admin_token.as_deref(), Some("another"));
        assert!(!store.end_session(&session.id).await.unwrap());
        let gone = store.replace_session_token(&session.id, "t5").await;
        assert!(matches!(gone, Err(StoreError::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn the_setup_link_makes_one_admin_and_a_password_counts_as_a_key() {
    on_each_database(async |store, _| {
        let later = now_micros() + 1_000_000;
        assert!(!store.ever_had_keys().await.unwrap() && !store.has_passwords().await.unwrap());
        for token in ["s1", "s2"] {
            store.add_setup_link(token, later).await.unwrap();
        }
        store.add_setup_link("old", 5).await.unwrap();
        assert!(matches!(store.set_up(Some("old"), "ada", "hash").await, Err(StoreError::LinkNotValid)));
        assert!(matches!(store.set_up(Some("wrong"), "ada", "hash").await, Err(StoreError::LinkNotValid)));
        store.add_user("olga", Role::Member).await.unwrap();
        assert!(matches!(store.set_up(Some("s1"), "olga", "hash").await, Err(StoreError::Conflict(_))));
        assert!(store.has_link(LinkKind::Setup, "s1", now_micros()).await.unwrap(), "a failure leaves the link valid");
        let ada = store.set_up(Some("s1"), "ada", "hash").await.unwrap();
        assert_eq!((ada.role, store.password("ada").await.unwrap()), (Role::Admin, Some((ada, "hash".into()))));
        assert!(matches!(store.set_up(Some("s1"), "bob", "hash").await, Err(StoreError::LinkNotValid)));
        assert!(matches!(store.set_up(Some("s2"), "bob", "hash").await, Err(StoreError::Conflict(_))));
        assert!(store.ever_had_keys().await.unwrap() && store.has_passwords().await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn an_invitation_gives_its_rights_once() {
    on_each_database(async |store, _| {
        let now = now_micros();
        let project_id = store.add_project("team", None).await.unwrap().id;
        let rights = NewUserRights { role: Role::Viewer, project_id, budget: Some(7) };
        let invitation = Invitation { name: Some("olga".into()), rights: rights.clone() };
        store.add_invitation("i1", now + 1_000_000, &invitation).await.unwrap();
        assert_eq!(store.invitation("i1", now).await.unwrap(), Some(invitation));
        assert_eq!(store.invitation("i1", now + 1_000_000).await.unwrap(), None, "it is old");
        assert!(!store.has_link(LinkKind::Setup, "i1", now).await.unwrap());
        let olga = store.sign_up(Some("i1"), "olga", &rights, "hash").await.unwrap();
        assert_eq!((olga.role, olga.budget), (Role::Viewer, Some(7)));
        assert_eq!(store.projects_of_user(&olga.id).await.unwrap()[0].name, "team");
        let again = store.sign_up(Some("i1"), "bob", &rights, "hash").await;
        assert!(matches!(again, Err(StoreError::LinkNotValid)));
        let taken = store.sign_up(None, "olga", &rights, "hash").await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))));
        assert_eq!(store.users().await.unwrap().len(), 1, "nothing of a failure stays");
    })
    .await;
}

#[tokio::test]
async fn a_password_link_is_replaced_by_the_next_and_ends_sessions() {
    on_each_database(async |store, _| {
        let (now, later) = (now_micros(), now_micros() + 1_000_000);
        let olga = store.add_user("olga", Role::Member).await.unwrap();
        store.add_password_link("l1", later, &olga).await.unwrap();
        store.add_password_link("l2", later, &olga).await.unwrap();
        assert_eq!(store.user_of_password_link("l1", now).await.unwrap(), None);
        assert_eq!(store.user_of_password_link("l2", later).await.unwrap(), None, "it is old");
        assert_eq!(store.user_of_password_link("l2", now).await.unwrap().as_ref(), Some(&olga));
        store.add_session(new_session("o1", &olga)).await.unwrap();
        store.set_password_by_link("l2", &olga, "hash").await.unwrap();
        assert_eq!(store.password("olga").await.unwrap().unwrap().1, "hash");
        assert!(store.sessions(None, now).await.unwrap().is_empty());
        let again = store.set_password_by_link("l2", &olga, "other").await;
        assert!(matches!(again, Err(StoreError::LinkNotValid)));
        assert_eq!(store.password("olga").await.unwrap().unwrap().1, "hash");
    })
    .await;
}

#[tokio::test]
async fn the_last_admin_stays_one() {
    on_each_database(async |store, _| {
        store.add_user("ada", Role::Admin).await.unwrap();
        for (role, disabled) in [(Role::Viewer, false), (Role::Admin, true)] {
            let refused = store.update_user("ada", role, disabled).await.unwrap_err();
            assert!(
                matches!(refused, StoreError::Conflict(_)) && refused.to_string().contains("last admin"),
                "{refused}"
            );
        }
        store.add_user("bob", Role::Admin).await.unwrap();
        // Of two that are demoted at the same time, one stays.
        let (one, two) =
            tokio::join!(store.update_user("ada", Role::Member, false), store.update_user("bob", Role::Member, false));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let admins = store.users().await.unwrap().into_iter().filter(|user| user.role == Role::Admin);
        assert_eq!(admins.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn members_of_a_project_are_replaced_as_a_whole() {
    on_each_database(async |store, _| {
        let team = store.add_project("team", None).await.unwrap();
        let olga = store.add_user("olga", Role::Member).await.unwrap();
        store.add_user("bob", Role::Member).await.unwrap();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        store.set_project_members("team", &names(&["olga", "bob"])).await.unwrap();
        let members = store.project_members().await.unwrap();
        assert_eq!(members, [(team.id.clone(), "bob".into()), (team.id.clone(), "olga".into())]);
        let unknown = store.set_project_members("team", &names(&["bob", "nobody"])).await;
        assert!(matches!(unknown, Err(StoreError::NotFound(_))));
        assert_eq!(store.projects_of_user(&olga.id).await.unwrap().len(), 1, "nothing of a failure stays");
        store.set_project_members("team", &names(&["bob"])).await.unwrap();
        assert!(store.projects_of_user(&olga.id).await.unwrap().is_empty());
        assert!(matches!(store.set_project_members("x", &names(&[])).await, Err(StoreError::NotFound(_))));

        assert_eq!(store.set_user_budget("olga", Some(5)).await.unwrap().budget, Some(5));
        assert!(matches!(store.set_user_budget("nobody", None).await, Err(StoreError::NotFound(_))));
        let limits = Limits::default();
        let new = NewKey { project: &team, user: Some(&olga), name: "k", hash: "h", tail: "t", limits };
        let key = store.add_key(new).await.unwrap();
        store.revoke_key("k").await.unwrap();
        let keys = store.keys_of_user(&olga.id).await.unwrap();
        assert!(keys.len() == 1 && keys[0].id == key.id && keys[0].revoked_at.is_some());
    })
    .await;
}
