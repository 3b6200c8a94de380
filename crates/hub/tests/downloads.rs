//! Downloads from a fake hub, with every fault that a hub, its store and the network have.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::{
    DownloadEvent, DownloadOptions, DownloadPlan, Error, HubCache, HubClient, HubSettings, ModelRef, RetryPolicy,
    Token, download, select,
};
use tempfile::TempDir;
use testkit::fake_hub::{COMMIT, LINK_SECRET};
use testkit::{FakeHub, HubFile};

const ID: &str = "deepseek-ai/Tiny";
const TOKEN: &str = "hf_a-token-that-nothing-shows";

/// A fake hub, a cache, and the events of downloads.
struct Scene {
    hub: FakeHub,
    folder: TempDir,
    settings: HubSettings,
    events: Arc<Mutex<Vec<String>>>,
    balance: Arc<Mutex<i64>>,
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

fn files() -> Vec<HubFile> {
    vec![
        HubFile::small("config.json", "{}"),
        HubFile::small("empty", ""),
        HubFile::small("sub/deep/tokenizer.json", noise(1, 20_000)),
        HubFile::large("model-00001.safetensors", noise(2, 1_200_000)),
        HubFile::large("model-00002.safetensors", noise(3, 200_000)),
        HubFile::large("copy-of-2.safetensors", noise(3, 200_000)),
    ]
}

impl Scene {
    async fn new() -> Self {
        Self::with(files()).await
    }

    async fn with(files: Vec<HubFile>) -> Self {
        // The error means that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hub = FakeHub::start(ID, files).await;
        let folder = tempfile::tempdir().unwrap();
        let settings = HubSettings {
            endpoint: hub.endpoint().parse().unwrap(),
            token: None,
            cache: folder.path().join("hub"),
            offline: false,
        };
        Self { hub, folder, settings, events: Arc::default(), balance: Arc::default() }
    }

    fn client(&self) -> HubClient {
        let quick = RetryPolicy { first_pause: Duration::from_millis(5), ..RetryPolicy::default() };
        HubClient::new(&self.settings).unwrap().with_retry(quick)
    }

    fn cache(&self) -> HubCache {
        HubCache::new(&self.settings.cache)
    }

    async fn plan(&self) -> Result<DownloadPlan, Error> {
        let model: ModelRef = ID.parse().unwrap();
        let repository = self.client().repository(&model).await?;
        let selection = select(&repository, &[], "")?;
        DownloadPlan::new(&self.cache(), &model, &repository, &selection.files)
    }

    async fn pull_with(&self, verify: bool) -> Result<PathBuf, Error> {
        let plan = self.plan().await?;
        *self.balance.lock().unwrap() = plan.bytes_present() as i64;
        let (events, balance) = (self.events.clone(), self.balance.clone());
        let report = move |event: DownloadEvent<'_>| match event {
            DownloadEvent::Received { bytes } => *balance.lock().unwrap() += bytes as i64,
            DownloadEvent::Discarded { bytes } => *balance.lock().unwrap() -= bytes as i64,
            other => events.lock().unwrap().push(format!("{other:?}")),
        };
        download(&self.client(), &self.cache(), Arc::new(plan), DownloadOptions { jobs: 3, verify }, Arc::new(report))
            .await
    }

    async fn pull(&self) -> Result<PathBuf, Error> {
        self.pull_with(false).await
    }

    /// Pulls, and checks every byte of the cache.
    async fn pull_ok(&self) {
        let snapshot = self.pull().await.unwrap_or_else(|error| panic!("{error}"));
        self.check(&snapshot);
    }

    fn check(&self, snapshot: &std::path::Path) {
        for file in self.hub.files() {
            assert_eq!(fs::read(snapshot.join(&file.path)).unwrap(), file.bytes, "{}", file.path);
        }
        assert_eq!(self.cache().snapshot(&ID.parse().unwrap()).unwrap(), snapshot);
        let total: usize = 2 + 20_000 + 1_200_000 + 200_000;
        if self.hub.files().len() == files().len() {
            assert_eq!(*self.balance.lock().unwrap(), total as i64, "the progress counts every byte once");
        }
        let blobs = self.settings.cache.join("models--deepseek-ai--Tiny/blobs");
        let incomplete = fs::read_dir(blobs)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".incomplete"));
        assert_eq!(incomplete.count(), 0);
    }

    fn has_event(&self, words: &str) -> bool {
        self.events.lock().unwrap().iter().any(|event| event.contains(words))
    }

    /// The error of a pull, whose text has no secret.
    async fn pull_fails(&self) -> (Error, String) {
        let error = self.pull().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains(TOKEN) && !text.contains(LINK_SECRET), "{text}");
        (error, text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_laid_out_as_other_tools_expect() {
    let scene = Scene::new().await;
    scene.pull_ok().await;
    let model = scene.settings.cache.join("models--deepseek-ai--Tiny");
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(model.join("snapshots").join(COMMIT).join("sub/deep/tokenizer.json")).unwrap();
    let checksum = scene.hub.files()[2].checksum();
    assert_eq!(link, PathBuf::from(format!("../../../../blobs/{checksum}")));
    assert_eq!(fs::read_dir(model.join("blobs")).unwrap().count(), 5, "equal files are kept once");

    // All is there: only the list of files is requested again.
    let before = (scene.hub.hub_requests().len(), scene.hub.store_requests().len());
    scene.pull_ok().await;
    assert_eq!((scene.hub.hub_requests().len(), scene.hub.store_requests().len()), (before.0 + 1, before.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_hub_alone() {
    let mut scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.token = Some(TOKEN.into()));
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::NoModel { has_token: false, .. }) && text.contains("HF_TOKEN"), "{text}");
    scene.settings.token = Token::new("hf_another");
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::Unauthorized { status: 401, .. }), "{text}");
    scene.settings.token = Token::new(TOKEN);
    scene.pull_ok().await;
    let to_store = scene.hub.store_requests();
    assert!(!to_store.is_empty() && to_store.iter().all(|request| request.header("authorization").is_none()));
    assert!(!scene.client().sends_token_in_clear(), "a loopback address is this machine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_model_is_explained() {
    let mut scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.gated = true);
    for token in [None, Token::new(TOKEN)] {
        scene.settings.token = token;
        let (error, text) = scene.pull_fails().await;
        assert!(matches!(error, Error::Gated { .. }) && text.contains("/deepseek-ai/Tiny with your account"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named() {
    let scene = Scene::new().await;
    let client = scene.client();
    let repository = async |text: &str| client.repository(&text.parse().unwrap()).await;
    assert!(matches!(repository("deepseek-ai/Other").await, Err(Error::NoModel { .. })));
    assert!(matches!(repository("deepseek-ai/Tiny@dev").await, Err(Error::NoRevision { .. })));
    let found = repository(&format!("{ID}@{COMMIT}")).await.unwrap();
    let mut file = found.files[0].clone();
    file.path = "missing".into();
    assert!(matches!(client.read_file(&found, &file, 100).await, Err(Error::NoFile { .. })));
    let mut offline = scene.settings.clone();
    offline.offline = true;
    let offline = HubClient::new(&offline).unwrap().repository(&ID.parse().unwrap()).await;
    assert!(matches!(offline, Err(Error::Offline)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_answers_are_continued_and_not_repeated() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.cuts = [0, 10, 500_000, 1, 700_000, 0, 0, 100_000].into());
    scene.pull_ok().await;
    assert!(scene.has_event("Paused"));
    let ranges = scene.hub.store_requests();
    assert!(ranges.iter().any(|request| request.header("range").is_some()), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_ranges_sends_the_file_anew() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| {
        faults.ignores_ranges = true;
        faults.cuts = [100_000, 1_000_000, 150_000].into();
    });
    scene.pull_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_sends_the_whole_file_is_given_up() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| {
        faults.ignores_ranges = true;
        faults.cuts = VecDeque::from(vec![100_000; 100]);
    });
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::Interrupted { .. }), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_is_never_believed() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.damaged = 1);
    scene.pull_ok().await;
    assert!(scene.has_event("Damaged"));

    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.damaged = 1000);
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::Damaged { .. }), "{text}");
    assert!(scene.cache().snapshot(&ID.parse().unwrap()).is_err(), "no branch names what is not complete");
    let model = scene.settings.cache.join("models--deepseek-ai--Tiny");
    for entry in fs::read_dir(model.join("blobs")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = scene.hub.files().iter().find(|file| file.checksum() == name);
        assert!(name.ends_with(".incomplete") || fs::read(entry.path()).unwrap() == file.unwrap().bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_another_program_is_continued_or_replaced() {
    let scene = Scene::new().await;
    let blobs = scene.settings.cache.join("models--deepseek-ai--Tiny/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let [first, second] = [3, 4].map(|file: usize| scene.hub.files()[file].clone());
    fs::write(blobs.join(first.checksum() + ".incomplete"), &first.bytes[..1_000_000]).unwrap();
    fs::write(blobs.join(second.checksum() + ".incomplete"), vec![0; 199_999]).unwrap();
    scene.pull_ok().await;
    let starts: Vec<String> =
        scene.hub.store_requests().iter().filter_map(|request| request.header("range").map(str::to_owned)).collect();
    assert!(starts.contains(&"bytes=1000000-".to_owned()), "{starts:?}");
    assert!(scene.has_event("Damaged"), "the zeros were not believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_the_file_has_are_refused() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.surplus = 5);
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::Malformed { .. }) && text.contains("more than the"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_and_failures_of_the_hub_are_waited_for() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| (faults.rate_limits, faults.retry_after, faults.unavailable) = (2, 1, 3));
    let started = std::time::Instant::now();
    scene.pull_ok().await;
    assert!(started.elapsed() >= Duration::from_secs(1) && scene.has_event("limits the rate"));

    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| (faults.rate_limits, faults.retry_after) = (100, 86_400));
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::RateLimited { seconds: 86_400, .. }), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_lead_nowhere_end() {
    let scene = Scene::new().await;
    let around = format!("{}/{ID}/resolve/{COMMIT}/model-00001.safetensors", scene.hub.endpoint());
    for place in [around.as_str(), "ftp://127.0.0.1/x", "http://user:hidden@127.0.0.1/x", "http://"] {
        scene.hub.set_faults(|faults| faults.redirect = Some(place.into()));
        let (error, text) = scene.pull_fails().await;
        assert!(matches!(error, Error::Redirect { .. }) && !text.contains("hidden"), "{place}: {text}");
    }
    scene.hub.set_faults(|faults| faults.redirect = Some(format!("http://127.0.0.1:1/x?{LINK_SECRET}")));
    let (error, text) = scene.pull_fails().await;
    assert!(matches!(error, Error::Connect { .. }) && text.contains("127.0.0.1:1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_of_the_cache_are_found_on_request() {
    let scene = Scene::new().await;
    let snapshot = scene.pull().await.unwrap();
    let blob = fs::canonicalize(snapshot.join("model-00002.safetensors")).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[17] ^= 1;
    fs::write(&blob, bytes).unwrap();
    scene.pull_with(false).await.unwrap();
    assert!(!scene.has_event("Damaged"));
    scene.check(&scene.pull_with(true).await.unwrap());
    assert!(scene.has_event("Damaged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_dropped_is_continued() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.rate = Some(1 << 17));
    let stopped = tokio::time::timeout(Duration::from_millis(1500), scene.pull()).await;
    assert!(stopped.is_err(), "it takes longer");
    scene.hub.set_faults(|faults| faults.rate = None);
    scene.pull_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloads_at_once_share_the_work() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.rate = Some(8 << 20));
    let (one, other) = tokio::join!(scene.pull(), scene.pull());
    assert_eq!(one.unwrap(), other.unwrap());
    let of_first = scene.hub.files()[3].checksum();
    let sent = scene.hub.store_requests().iter().filter(|request| request.path.contains(&of_first)).count();
    assert_eq!(sent, 1);
    assert!(scene.has_event("Locked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_needed_of_a_large_file_is_read() {
    let scene = Scene::new().await;
    let client = scene.client();
    let repository = client.repository(&ID.parse().unwrap()).await.unwrap();
    let large = repository.file("model-00001.safetensors").unwrap();
    for ignores_ranges in [false, true] {
        scene.hub.set_faults(|faults| faults.ignores_ranges = ignores_ranges);
        let start = client.read_start(&repository, large, 1000).await.unwrap();
        assert_eq!(start, scene.hub.files()[3].bytes[..1000]);
    }
    let small = repository.file("sub/deep/tokenizer.json").unwrap();
    assert_eq!(client.read_file(&repository, small, 1 << 20).await.unwrap(), scene.hub.files()[2].bytes);
    assert!(matches!(client.read_file(&repository, small, 100).await, Err(Error::Malformed { .. })));
    scene.hub.set_faults(|faults| faults.damaged = 5);
    assert!(matches!(client.read_file(&repository, small, 1 << 20).await, Err(Error::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_out_of_the_cache_is_refused_before_anything_is_written() {
    for path in ["../../evil", "/etc/evil", "a/../../evil"] {
        let scene = Scene::with(vec![HubFile::small("config.json", "{}"), HubFile::small(path, "x")]).await;
        assert!(matches!(scene.pull().await, Err(Error::UnsafeName { .. })), "{path}");
        assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_removed() {
    let scene = Scene::new().await;
    let cache = scene.cache();
    assert!(cache.models().unwrap().is_empty());
    let snapshot = scene.pull().await.unwrap();
    // A second commit that shares a file, as another tool would have made it.
    let other = scene.settings.cache.join("models--deepseek-ai--Tiny/snapshots").join("f".repeat(40));
    fs::create_dir_all(&other).unwrap();
    let config = fs::read_link(snapshot.join("config.json")).unwrap();
    std::os::unix::fs::symlink(config, other.join("config.json")).unwrap();
    let models = cache.models().unwrap();
    assert_eq!((models.len(), models[0].id.to_string().as_str()), (1, ID));
    assert_eq!((models[0].bytes, models[0].incomplete_bytes), (1_420_002 + 40, 0), "and the ref");
    let revisions = &models[0].revisions;
    assert_eq!((revisions[0].refs.as_slice(), revisions[0].files), (&["main".to_owned()][..], 6));
    assert_eq!((revisions[1].refs.len(), revisions[1].bytes), (0, 2));

    assert_eq!(cache.remove_revision(&ID.parse().unwrap()).unwrap(), 1_420_000 + 40);
    assert_eq!(fs::read(other.join("config.json")).unwrap(), b"{}", "a shared file stays");
    assert!(matches!(cache.remove_revision(&ID.parse().unwrap()), Err(Error::NotCached { .. })));
    let id = ID.parse().unwrap();
    assert_eq!(cache.remove_model(&id).unwrap(), 2);
    assert!(cache.models().unwrap().is_empty());
    assert!(matches!(cache.remove_model(&id), Err(Error::NotCached { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_downloaded_is_not_removed() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.rate = Some(1 << 20));
    let removal = async {
        while scene.hub.store_requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.cache().remove_model(&ID.parse().unwrap())
    };
    let (pulled, removed) = tokio::join!(scene.pull(), removal);
    assert!(matches!(removed, Err(Error::InUse { .. })));
    scene.check(&pulled.unwrap());
}
