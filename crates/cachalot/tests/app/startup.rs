//! How a server starts and ends, and what stands in its way.

use crate::process::Home;

#[test]
fn a_second_server_on_a_data_folder_refuses_and_names_the_first() {
    let home = Home::new();
    let first = home.serve(&[]);
    let refused = home.serve_refused(&[]);
    assert!(refused.contains(&format!("process {}", first.id())), "{refused}");
    assert!(refused.contains(home.data("").to_str().unwrap().trim_end_matches('/')), "{refused}");
    // The other commands go on.
    home.done(&["key", "add", "alice"]);
    home.done(&["usage"]);
    // However it ends, the folder is free.
    first.kill();
    home.serve(&[]).stop();
}
