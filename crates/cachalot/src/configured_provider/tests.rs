use super::*;

fn configure(text: &str) -> Result<Vec<ConfiguredProvider>> {
    install_tls();
    configured(&toml::from_str(text).unwrap())
}

fn install_tls() {
    crate::install_tls_provider();
}

#[test]
fn every_built_in_provider_can_be_used() {
    install_tls();
    let builtins = builtin_providers();
    for builtin in builtins {
        let BuiltinProvider { name, base_url, dialect, private, metrics, status, .. } = builtin.clone();
        assert!(["fake", "untested"].contains(&status.as_str()), "{name}");
        Upstream::new(UpstreamConfig { name, preset: None, base_url, dialect, key: None, private, metrics }).unwrap();
    }
    let names: std::collections::BTreeSet<_> = builtins.iter().map(|builtin| &builtin.name).collect();
    assert_eq!(names.len(), builtins.len());
}

#[test]
fn a_block_may_name_a_preset_or_describe_itself() {
    let providers = configure(
        "[[providers]]\nname='vllm'\nbase_url='http://10.0.0.5:8000/v1'\npriority=2\n
         [[providers]]\nname='second'\npreset='vllm'\nweight=3\nmodels=['m']\n
         [[providers]]\nname='own'\nbase_url='https://llm.example.org/v1'\ndialect='openai'\n",
    );
    let providers = providers.unwrap();
    let preferences: Vec<_> =
        providers.iter().map(|provider| (provider.preference.priority, provider.preference.weight)).collect();
    assert_eq!(preferences, [(2, 1), (0, 3), (0, 1)]);
    assert_eq!(providers[1].models.as_deref(), Some(["m".to_owned()].as_slice()));
}

#[test]
fn a_second_key_has_the_prices_of_its_preset_unless_prices_name_it() {
    let block =
        |name: &str, model: &str| format!("[[providers]]\nname='{name}'\npreset='llamacpp'\nmodels=['{model}']\n");
    let mut router = Router::default();
    for provider in configure(&(block("one", "a") + &block("two", "a") + &block("three", "b"))).unwrap() {
        provider.add_to_router(&mut router);
    }
    let price = |provider: &str, input: f64| {
        format!("[[price]]\nprovider='{provider}'\nmodel='a'\nsource='s'\ndate='d'\ninput={input}\n")
    };
    let prices = gateway::Prices::parse(&(price("llamacpp", 1.0) + &price("two", 2.0))).unwrap();
    let gateway = Gateway::new(router, Arc::new(gateway::Accounting::with_prices(prices)));
    let input = |id: &str| {
        let listed = gateway.all_models().into_iter().find(|listed| *listed.id == *id).unwrap();
        listed.price.map(|price| price.dollars()[0])
    };
    assert_eq!(["one/a", "two/a", "three/b"].map(input), [Some(1.0), Some(2.0), None]);
}

#[test]
fn a_provider_that_cannot_be_used_is_named() {
    for (text, word) in [
        ("[[providers]]\nname='nobody'", "base_url"),
        ("[[providers]]\nname='own'\nbase_url='https://x.example'", "dialect"),
        ("[[providers]]\nname='own'\nbase_url='http://10.0.0.1'\ndialect='openai'", "private = true"),
        ("[[providers]]\nname='deepseek'\nkey_env='CACHALOT_NO_SUCH_VARIABLE'", "CACHALOT_NO_SUCH_VARIABLE"),
        ("[[providers]]\nname='vllm'\n[[providers]]\nname='vllm'", "two providers"),
        ("[[providers]]\nname='local'\nbase_url='https://x.example'\ndialect='openai'", "local engine"),
        ("[[providers]]\nname='vllm'\nweight=0", "weight"),
        ("[[providers]]\nname=\"a\\u202eb\"\nbase_url='https://x.example'\ndialect='openai'", "1 to 64"),
        ("[[providers]]\nname='vllm'\nmodels=[\"a\\u001b\"]", "not a valid model id"),
        ("[[providers]]\nname='vllm'\nrename={\"a\\u202e\"='b'}", "1 to 64"),
        ("[[providers]]\nname='vllm'\ntimeout_s=0", "timeout_s"),
        ("[[providers]]\nname='vllm'\ntimeout_s=99999999999", "timeout_s"),
        ("[[providers]]\nname='deepseek'\nbase_url='https://other.example'", "key_envs"),
        ("[[providers]]\nname='deepseek'\nkey_env='HTTPS_PROXY'", "never sent"),
        ("[[providers]]\nname='vllm'\nheaders={Authorization='Bearer x'}", "`Authorization`"),
        ("[[providers]]\nname='vllm'\nheaders={'a b'='x'}", "`a b`"),
        ("[[providers]]\nname='vllm'\nheaders={a=\"x\\n\"}", "`a`"),
        ("[[providers]]\nname='vllm'\nquery={Key='x'}", "`Key`"),
        ("[[providers]]\nname='vllm'\ndrop=['messages']", "`messages`"),
        ("[[providers]]\nname='vllm'\nset={max_tokens=5}", "budgets"),
        ("[[providers]]\nname='azure'\nmodels=['m']", "https://RESOURCE.openai.azure.com"),
        ("[[providers]]\nname='vllm'\napi_version='2024-10-21'", "service = \"azure\""),
        ("[[providers]]\nname='vllm'\nservice='azure'", "name its models"),
        ("[[providers]]\nname='vllm'\nservice='vertex'\nmodels=['m']", "service account"),
        ("[[providers]]\nname='vllm'\nregion='us-east-1'", "service = \"bedrock\""),
        ("[[providers]]\nname='bedrock'\nmodels=['m']", "https://bedrock-runtime.REGION.amazonaws.com"),
        ("[[providers]]\nname='vllm'\nservice='bedrock'\ndialect='bedrock'\nmodels=['m']", "secret access key"),
        ("[[providers]]\nname='vllm'\nservice='azure'\ndialect='gemini'\nmodels=['m']", "does not have its dialect"),
    ] {
        let error = format!("{:#}", configure(text).expect_err(text));
        assert!(error.contains(word), "{text}: {error}");
    }
}
