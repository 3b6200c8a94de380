//! Former names of settings, which can be read for one release.

use crate::process::TestHome;

#[test]
fn a_former_name_works_and_is_reported_in_the_log() {
    let home = TestHome::new();
    let path = home.path("old.toml");
    std::fs::write(&path, "[server]\ngrace_s = 7\n[[providers]]\nname = 'second'\nrow = 'vllm'\nmodels = ['m']\n")
        .unwrap();
    let path = path.to_str().unwrap();
    let server = home.serve(&["--config", path]);
    let token = std::fs::read_to_string(home.data_path("admin-token")).unwrap();
    let authorization = format!("authorization: Bearer {}", token.trim());
    let (_, config) = server.get("/admin/config", &[&authorization]);
    assert!(config.contains("\"shutdown_grace_s\":{\"value\":7,\"from\":\"file\""), "{config}");
    let (_, providers) = server.get("/admin/providers", &[&authorization]);
    assert!(providers.contains("\"row\":\"vllm\"") && !providers.contains("preset"), "{providers}");
    let log = server.stop();
    for (section, former, present) in [("server", "grace_s", "shutdown_grace_s"), ("providers", "row", "preset")] {
        let names = [format!("section={section}"), format!("former={former}"), format!("present={present}")];
        let warns = |line: &&str| line.contains(path) && names.iter().all(|name| line.contains(name));
        assert_eq!(log.lines().filter(warns).count(), 1, "{log}");
        // Also by a command that needs the configuration beside the store.
        let added = home.run(&["key", "add", present, "--models", "m", "--config", path]);
        assert_eq!(added.stderr.lines().filter(warns).count(), 1, "{}", added.stderr);
    }
}
