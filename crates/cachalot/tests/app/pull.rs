//! Models by their names, from a fake hub: `pull`, `models`, `inspect` and `serve` as processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use model::config::Config;
use model::tensors::expected_tensors;
use serde_json::{Map, Value, json};
use testkit::{FakeHub, HubFile, TinyCheckpoint};

use crate::process::{ProcessOutput, Server, TestHome, run_to_end};

const ID: &str = "deepseek-ai/Tiny";
const TOKEN: &str = "hf_a-token-that-nothing-shows";

/// A fake hub, and a home whose cache is empty.
struct Scene {
    hub: FakeHub,
    home: TestHome,
}

fn tiny_files() -> Vec<HubFile> {
    let files = TinyCheckpoint { shards: 3, ..TinyCheckpoint::default() }.files();
    let file = |(name, bytes): (String, Vec<u8>)| match name.ends_with(".safetensors") {
        true => HubFile::large(&name, bytes),
        false => HubFile::small(&name, bytes),
    };
    files.into_iter().map(file).collect()
}

impl Scene {
    async fn new() -> Self {
        Self::with(tiny_files()).await
    }

    async fn with(files: Vec<HubFile>) -> Self {
        Self { hub: FakeHub::start(ID, files).await, home: TestHome::new() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        for variable in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"] {
            command.env_remove(variable);
        }
        for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.home.path("hf"));
        command
    }

    fn run(&self, args: &[&str]) -> ProcessOutput {
        run_to_end(self.command(args))
    }

    fn run_ok(&self, args: &[&str]) -> ProcessOutput {
        let ended = self.run(args);
        assert!(ended.status.success(), "{args:?}: {}", ended.stderr);
        ended
    }

    fn run_fails(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert!(!ended.status.success(), "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended.stderr
    }

    fn model_folder(&self) -> PathBuf {
        self.home.path("hf/hub/models--deepseek-ai--Tiny")
    }

    /// Checks that every file with a final name has the right bytes. Returns their number.
    fn check_blobs(&self) -> usize {
        let Ok(blobs) = fs::read_dir(self.model_folder().join("blobs")) else { return 0 };
        let mut complete = 0;
        for entry in blobs.map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".incomplete") {
                let file = self.hub.files().iter().find(|file| file.checksum() == name).expect("a file of the model");
                assert!(fs::read(entry.path()).unwrap() == file.bytes, "{} is wrong", file.path);
                complete += 1;
            }
        }
        complete
    }

    /// Bytes of files that are not complete.
    fn incomplete_bytes(&self) -> u64 {
        let Ok(blobs) = fs::read_dir(self.model_folder().join("blobs")) else { return 0 };
        let incomplete = blobs.map(Result::unwrap).filter(|entry| entry.path().extension().is_some());
        incomplete.map(|entry| entry.metadata().unwrap().len()).sum()
    }

    fn spawn_pull(&self) -> Child {
        self.command(&["pull", ID]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_and_served_by_its_name() {
    let scene = Scene::new().await;
    let missing = scene.run_fails(&["serve", "--model", ID, "--listen", "127.0.0.1:0"]);
    assert!(missing.contains("`cachalot pull deepseek-ai/Tiny`") && missing.contains("7 files, "), "{missing}");
    assert!(scene.hub.store_requests().is_empty(), "`serve` downloads nothing");

    let pulled = scene.run_ok(&["pull", ID]);
    let snapshot = PathBuf::from(pulled.stdout.trim());
    for file in scene.hub.files() {
        assert!(fs::read(snapshot.join(&file.path)).unwrap() == file.bytes, "{}", file.path);
    }
    assert!(pulled.stderr.contains("7 files") && pulled.stderr.contains("cachalot serve --model"), "{}", pulled.stderr);

    // Offline from here on.
    let requests = scene.hub.hub_requests().len();
    let arguments = ["serve", "--model", ID, "--listen", "127.0.0.1:0", "--store", "off", "--disk-cache", "off"];
    let server = Server::start(scene.command(&arguments));
    let (status, models) = server.get("/models", &[]);
    assert!(status == 200 && models.contains("Tiny") && !models.contains(testkit::fake_hub::COMMIT), "{models}");
    server.stop();
    let described = scene.run_ok(&["inspect", ID]).stdout;
    assert!(described.contains("architecture  deepseek_v32") && described.contains("it fits"), "{described}");

    let listed = scene.run_ok(&["models", "list"]).stdout;
    assert!(listed.contains(ID) && listed.contains("0123456789ab (main)"), "{listed}");
    let listed: Value = serde_json::from_str(&scene.run_ok(&["models", "list", "--json"]).stdout).unwrap();
    assert_eq!(listed[0]["revisions"][0]["files"], 7);
    assert!(scene.run_ok(&["models", "rm", ID]).stdout.contains("free now"));
    assert!(!scene.model_folder().exists());
    assert!(scene.run_fails(&["models", "rm", ID]).contains("`cachalot models list`"));
    assert_eq!(scene.hub.hub_requests().len(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_model_says_how_to_finish_it() {
    let scene = Scene::new().await;
    scene.run_ok(&["pull", ID, "--include", "*.json", "--include", "model-00001*"]);
    assert_eq!(scene.check_blobs(), 5);
    let error = scene.run_fails(&["chat", "--model", ID]);
    assert!(error.contains("is missing") && error.contains("hint: `cachalot pull deepseek-ai/Tiny`"), "{error}");
    let error = scene.run_fails(&["pull", ID, "--include", "*.txt"]);
    assert!(error.contains("no file of `deepseek-ai/Tiny` matches *.txt"), "{error}");
}

/// The next number of a seeded generator.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_killed_at_random_points_is_continued() {
    let mut random = 7;
    let mut files = vec![HubFile::small("config.json", TinyCheckpoint::default().config().to_string())];
    for shard in 1..=3 {
        let bytes: Vec<u8> = (0..1_500_000).map(|_| next_random(&mut random) as u8).collect();
        files.push(HubFile::large(&format!("model-0000{shard}-of-00003.safetensors"), bytes));
    }
    let scene = Scene::with(files).await;
    // A second and a half for all files at once.
    scene.hub.set_faults(|faults| faults.rate = Some(1_000_000));
    let mut continued = 0;
    for _ in 0..20 {
        let before = scene.hub.hub_requests().len();
        let mut pull = scene.spawn_pull();
        // The list of files and the configuration come first.
        while scene.hub.hub_requests().len() < before + 2 && pull.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(next_random(&mut random) % 1000));
        pull.kill().unwrap();
        pull.wait().unwrap();
        let complete = scene.check_blobs();
        let has_branch = scene.model_folder().join("refs/main").exists();
        assert!(!has_branch || complete == scene.hub.files().len(), "a branch names a complete download");
        continued += usize::from(complete < scene.hub.files().len() && scene.incomplete_bytes() > 0);
        if complete == scene.hub.files().len() {
            // Begin again, so that every kill meets a download.
            fs::remove_dir_all(scene.model_folder()).unwrap();
        }
    }
    assert!(continued > 0, "no kill left a part of a file");
    scene.hub.set_faults(|faults| faults.rate = None);
    let snapshot = PathBuf::from(scene.run_ok(&["pull", ID]).stdout.trim());
    assert_eq!(scene.check_blobs(), scene.hub.files().len());
    for file in scene.hub.files() {
        assert!(fs::read(snapshot.join(&file.path)).unwrap() == file.bytes, "{}", file.path);
    }
    let ranges = scene.hub.store_requests().iter().filter(|request| request.header("range").is_some()).count();
    assert!(ranges > 0, "nothing was continued");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_pull_and_says_how_to_continue() {
    let scene = Scene::new().await;
    scene.hub.set_faults(|faults| faults.rate = Some(20_000));
    let pull = scene.spawn_pull();
    while scene.hub.store_requests().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &pull.id().to_string()]).status().unwrap().success());
    let output = pull.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("the same command continues"), "{text}");
    scene.hub.set_faults(|faults| faults.rate = None);
    scene.run_ok(&["pull", ID]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_explained_without_secrets() {
    let scene = Scene::new().await;
    let with_token = |token: &str| {
        let mut command = scene.command(&["pull", ID]);
        let ended = run_to_end({
            command.env("HF_TOKEN", token).env("CACHALOT_LOG", "trace");
            command
        });
        assert!(
            !ended.stderr.contains(TOKEN) && !ended.stderr.contains(testkit::fake_hub::LINK_SECRET),
            "{}",
            ended.stderr
        );
        (ended.status.success(), ended.stderr)
    };
    scene.hub.set_faults(|faults| faults.token = Some(TOKEN.into()));
    let error = scene.run_fails(&["pull", ID]);
    assert!(error.contains("set HF_TOKEN"), "{error}");
    let (ok, error) = with_token("hf_wrong");
    assert!(!ok && error.contains("refused the token (HTTP 401)"), "{error}");
    scene.hub.set_faults(|faults| faults.gated = true);
    let (ok, error) = with_token(TOKEN);
    assert!(!ok && error.contains("is gated: accept its conditions"), "{error}");
    scene.hub.set_faults(|faults| (faults.gated, faults.damaged) = (false, 1000));
    let (ok, error) = with_token(TOKEN);
    assert!(!ok && error.contains("is damaged after two downloads"), "{error}");
    assert!(scene.check_blobs() < scene.hub.files().len());
    scene.hub.set_faults(|faults| faults.damaged = 0);
    assert!(with_token(TOKEN).0);
    assert!(scene.hub.store_requests().iter().all(|request| request.header("authorization").is_none()));

    let error = scene.run_fails(&["pull", "deepseek-ai/None"]);
    assert!(error.contains("has no model `deepseek-ai/None`"), "{error}");
    let error = scene.run_fails(&["pull", "openai/gpt-x"]);
    assert!(error.contains("`openai` is also a provider"), "{error}");
    let error = scene.run_fails(&["serve", "--model", "deepseek-ai/None", "--listen", "127.0.0.1:0"]);
    assert!(error.contains("there is no folder of this name") && error.contains("has no model"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_reached_through_a_proxy() {
    let scene = Scene::new().await;
    let mut command = scene.command(&["pull", ID, "--include", "*.json"]);
    // The fake hub is the proxy: it answers requests for any host.
    command.env("HF_ENDPOINT", "http://hub.invalid").env("HTTP_PROXY", scene.hub.endpoint()).env_remove("NO_PROXY");
    command.env("HF_TOKEN", TOKEN).env_remove("no_proxy");
    let ended = run_to_end(command);
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("HF_TOKEN is sent to `hub.invalid` without encryption"), "{}", ended.stderr);
    let requests = scene.hub.hub_requests();
    assert!(requests.iter().all(|request| request.header("host") == Some("hub.invalid")), "{requests:?}");
    assert_eq!(scene.check_blobs(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_of_the_cache_are_repaired_on_request() {
    let scene = Scene::new().await;
    let snapshot = PathBuf::from(scene.run_ok(&["pull", ID]).stdout.trim());
    let blob = fs::canonicalize(snapshot.join("tokenizer.json")).unwrap();
    let right = fs::read(&blob).unwrap();
    fs::write(&blob, vec![b' '; right.len()]).unwrap();
    let repaired = scene.run_ok(&["pull", ID, "--verify"]);
    assert!(repaired.stderr.contains("tokenizer.json: its checksum is wrong"), "{}", repaired.stderr);
    assert!(fs::read(&blob).unwrap() == right);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_other_formats_are_explained_before_the_download() {
    let files = vec![HubFile::sparse("model-Q4_K_M.gguf", "GGUF", 1 << 30), HubFile::small("README.md", "text")];
    let hub = FakeHub::start_with_tags(ID, files, &["gguf", "base_model:quantized:deepseek-ai/DeepSeek-V3.2"]).await;
    let scene = Scene { hub, home: TestHome::new() };
    let error = scene.run_fails(&["pull", ID]);
    assert!(error.contains("has GGUF files (1, 1.00 GiB)"), "{error}");
    assert!(error.contains("`cachalot pull deepseek-ai/DeepSeek-V3.2`") && error.contains("`--force`"), "{error}");
    assert!(scene.run_fails(&["inspect", ID]).contains("has GGUF files"));
    assert!(scene.hub.store_requests().is_empty());

    let config = json!({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}).to_string();
    let files = vec![HubFile::small("config.json", config), HubFile::large("model.safetensors", vec![0; 100])];
    let scene = Scene::with(files).await;
    let error = scene.run_fails(&["pull", ID]);
    assert!(error.contains("cannot run `deepseek-ai/Tiny`") && error.contains("distillations of R1"), "{error}");
    scene.run_ok(&["pull", ID, "--force"]);
}

#[test]
fn names_and_folders_of_other_programs_are_explained() {
    let home = TestHome::new();
    let folder = |name: &str| {
        fs::create_dir_all(home.path(name)).unwrap();
        home.path(name)
    };
    let tiny = TinyCheckpoint::default();
    fs::write(home.path("x.gguf"), b"GGUF\x03\0\0\0").unwrap();
    fs::write(folder("gguf").join("q4.gguf"), b"GGUF").unwrap();
    fs::write(folder("with-config").join("q4.gguf"), b"GGUF").unwrap();
    fs::write(home.path("with-config/config.json"), tiny.config().to_string()).unwrap();
    fs::write(folder("lfs").join("config.json"), tiny.config().to_string()).unwrap();
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n", "a".repeat(64));
    fs::write(home.path("lfs/model.safetensors"), pointer).unwrap();
    let mut config = tiny.config();
    config["quantization"] = json!({"group_size": 64, "bits": 4});
    fs::write(folder("mlx").join("config.json"), config.to_string()).unwrap();
    config = tiny.config();
    config["quantization_config"] = json!({"quant_method": "awq", "bits": 4});
    fs::write(folder("awq").join("config.json"), config.to_string()).unwrap();
    fs::write(folder("bare").join("config.json"), tiny.config().to_string()).unwrap();
    for (model, words) in [
        ("x.gguf", "`x.gguf` is a GGUF file"),
        ("y.gguf", "does not exist, and would be a GGUF file"),
        ("gguf", "has its weights as GGUF (`q4.gguf`)"),
        ("with-config", "has its weights as GGUF (`q4.gguf`)"),
        ("lfs", "`model.safetensors` is a Git LFS pointer"),
        ("mlx", "an MLX conversion of 4 bits"),
        ("awq", "an AWQ conversion"),
        ("deepseek-r1:7b", "Ollama's library"),
        ("gpt-5.2", "is a model of the provider `openai`"),
        ("https://huggingface.co/deepseek-ai/DeepSeek-V3.2", "`deepseek-ai/DeepSeek-V3.2`"),
    ] {
        let error = home.run_fails(&["inspect", model]);
        assert!(error.contains(words), "{model}: {error}");
    }
    let described = home.run_ok(&["inspect", "bare"]);
    assert!(described.contains("the weights are missing") && !described.contains("it fits"), "{described}");
    let error = home.run_fails(&["serve", "--model", "bare", "--listen", "127.0.0.1:0"]);
    assert!(error.contains("`cachalot pull ORG/NAME`"), "{error}");
}

const SHARDS: usize = 163;

/// The files of DeepSeek-V3.2 in the layout of the release: real headers, and no content.
fn release_files() -> Vec<HubFile> {
    let config = include_str!("../../../../reference/configs/deepseek-v3.2.json");
    let parsed = Config::from_json(&serde_json::from_str(config).unwrap()).unwrap();
    let mut tensors = Vec::new();
    for tensor in expected_tensors(&parsed) {
        let scales: Vec<usize> = tensor.shape.iter().map(|side| side.div_ceil(128)).collect();
        let dtype = if tensor.scaled { "F8_E4M3" } else { "BF16" };
        tensors.push((tensor.name.clone(), dtype, tensor.shape.clone()));
        if tensor.scaled {
            tensors.push((format!("{}_scale_inv", tensor.name), "F32", scales));
        }
    }
    let mut files = vec![HubFile::small("config.json", config)];
    let mut weight_map = Map::new();
    for (shard, part) in tensors.chunks(tensors.len().div_ceil(SHARDS)).enumerate() {
        let path = format!("model-{:05}-of-{SHARDS:06}.safetensors", shard + 1);
        let (mut header, mut end) = (Map::new(), 0);
        for (name, dtype, shape) in part {
            let start = end;
            let bytes = match *dtype {
                "F32" => 4,
                "BF16" => 2,
                _ => 1,
            };
            end += bytes * shape.iter().product::<usize>();
            header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
            weight_map.insert(name.clone(), json!(path));
        }
        let header = Value::Object(header).to_string();
        let start = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        files.push(HubFile::sparse(&path, start.clone(), (start.len() + end) as u64));
    }
    files.push(HubFile::small("model.safetensors.index.json", json!({"weight_map": weight_map}).to_string()));
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layout_of_163_files_is_planned_and_judged() {
    let scene = Scene::with(release_files()).await;
    let planned = scene.run(&["pull", ID, "--dry-run"]);
    assert!(planned.stderr.contains(": 165 files, 642."), "{}", planned.stderr);
    assert!(planned.stderr.contains("the weights of `deepseek-ai/Tiny` take 642."), "{}", planned.stderr);
    for words in ["this machine has", "`cachalot serve`", "--model none", "smaller checkpoint"] {
        assert!(planned.stderr.contains(words), "{words}: {}", planned.stderr);
    }
    let refused = scene.run_fails(&["pull", ID]);
    assert!(refused.contains("`--force` downloads it anyway"), "{refused}");
    let missing = scene.run_fails(&["serve", "--model", ID, "--listen", "127.0.0.1:0"]);
    assert!(missing.contains("165 files, 642.") && missing.contains("it runs here only from disk"), "{missing}");
    assert!(scene.hub.store_requests().is_empty(), "nothing of the weights is requested");

    let described = scene.run_ok(&["inspect", ID]).stdout;
    assert!(described.contains("parameters    671,877,944,064 in all"), "{described}");
    assert!(described.contains("it does not fit, the weights alone need 642."), "{described}");
    assert!(described.contains("download      642.") && !described.contains("not complete"), "{described}");
    let shards = scene.hub.store_requests();
    assert!(shards.len() >= SHARDS && shards.iter().all(|request| request.header("range").is_some()));

    // All but one file are there, as sparse files; the missing one is planned.
    let blobs = scene.model_folder().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    for file in scene.hub.files().iter().filter(|file| file.path != "model-00100-of-000163.safetensors") {
        let blob = fs::File::create(blobs.join(file.checksum())).unwrap();
        blob.set_len(file.size).unwrap();
    }
    let planned = scene.run(&["pull", ID, "--dry-run"]).stderr;
    let last = scene.hub.files().iter().find(|file| file.path.contains("00100-of")).unwrap().size as f64;
    let missing = format!("{:.2} GiB are missing", last / f64::from(1 << 30));
    assert!(planned.contains(&missing), "{missing}: {planned}");
}
