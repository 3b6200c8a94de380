//! Links to the console that work once: the setup of the first user, and setting a password.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;
use gateway::{generate_token, token_hash};
use store::{DAY_MICROS, PASSWORD_LINK_MICROS, Store, now_micros};

use crate::banner::local_address;
use crate::terminal;

/// The time for which the link of a start is valid, in microseconds.
const SETUP_MICROS: i64 = DAY_MICROS;

/// Prints a link that makes the first admin, as long as no user has a password. It goes to standard
/// output, because the log is on standard error.
///
/// # Errors
/// A store that cannot be used.
pub(crate) async fn print_setup_link(store: &Store, address: SocketAddr) -> Result<()> {
    if store.has_passwords().await? {
        return Ok(());
    }
    let token = generate_token("");
    store.add_setup_link(&token_hash(&token), now_micros() + SETUP_MICROS).await?;
    let mut out = std::io::stdout();
    let line = format!("Set up the console: {}\n", link(address, "setup", &token));
    let printed = terminal::write_lines(|| out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    if let Err(error) = printed {
        tracing::warn!(%error, "the link to set up the console could not be printed");
    }
    Ok(())
}

/// Makes a link that sets the password of a user.
///
/// # Errors
/// An unknown user; a store that cannot be used.
pub(crate) async fn password_link(store: &Store, address: SocketAddr, name: &str) -> Result<String> {
    let user = store.user(name).await?;
    let token = generate_token("");
    store.add_password_link(&token_hash(&token), now_micros() + PASSWORD_LINK_MICROS, &user).await?;
    Ok(link(address, "password", &token))
}

/// The address of the console on this machine. The token is in the part that is never sent.
fn link(address: SocketAddr, kind: &str, token: &str) -> String {
    format!("http://{}/console/#{kind}={token}", local_address(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_is_made_for_a_known_user_and_points_to_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("a.db").display())).await.unwrap();
        let address = "0.0.0.0:8000".parse().unwrap();
        assert!(password_link(&store, address, "nobody").await.is_err());
        store.add_user("olga", store::Role::Member).await.unwrap();
        let link = password_link(&store, address, "olga").await.unwrap();
        let token = link.strip_prefix("http://127.0.0.1:8000/console/#password=").unwrap();
        let user = store.user_of_password_link(&token_hash(token), now_micros()).await.unwrap();
        assert_eq!(user.unwrap().name, "olga");
        print_setup_link(&store, address).await.unwrap();
    }
}
