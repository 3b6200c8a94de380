use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chat::{BoxDeltaStream, BoxFuture, Delta, ErrorKind, FinishReason, Provider, StartedAnswer, Usage};
use futures_util::{StreamExt, stream};

use super::*;
use crate::AliasError;

/// Returns the thinking mode and the user of each request as text; refuses temperatures above 2.
#[derive(Default)]
struct Echo {
    starting: AtomicBool,
    calls: AtomicUsize,
}

impl Provider for Echo {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        if chat.sampling.temperature > Some(2.0) {
            return Err(Error::invalid("too hot"));
        }
        chat.notes.push("lenient".into());
        Ok(())
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let text = format!("thinking: {:?}, user: {:?}", chat.thinking, chat.user);
        let usage = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
        let deltas = [
            Delta::Start(Usage::default()),
            Delta::Text { text, logprobs: vec![] },
            Delta::Finish(FinishReason::Stop),
            Delta::Usage(usage),
        ];
        Box::pin(async move { Ok((Box::pin(stream::iter(deltas.map(Ok))) as BoxDeltaStream).into()) })
    }

    fn is_ready(&self) -> bool {
        !self.starting.load(Ordering::Relaxed)
    }
}

fn gateway() -> Gateway {
    let mut router = Router::for_local_model(Arc::new(Echo::default()), "Minnow", true);
    router.add_alias("gpt-fish", "DeepSeek-Reasoner").unwrap();
    Gateway::new(router, Arc::default())
}

fn chat_for(model: &str) -> Chat {
    Chat { model: model.into(), ..Chat::default() }
}

async fn answers_with_thinking(chat: Chat) -> bool {
    gateway().answer(&Caller::default(), chat).await.expect("the model exists").thinking
}

#[tokio::test]
async fn the_id_decides_the_mode_in_any_case() {
    for (id, thinking) in [
        ("deepseek-chat", false),
        ("DeepSeek-Reasoner", true),
        ("deepseek-v3.2-exp", false),
        ("deepseek-v3.2-EXP-THINKING", true),
        ("DeepSeek-V3.2-Exp-nothinking", false),
        ("deepseek-v3.2", false),
        ("deepseek-v3.2-thinking", true),
        ("deepseek-v3.2-nothinking", false),
        ("minnow", true),
        ("GPT-fish", true),
    ] {
        assert_eq!(answers_with_thinking(chat_for(id)).await, thinking, "{id}");
    }
}

#[tokio::test]
async fn thinking_and_effort_decide_only_where_the_id_leaves_it_open() {
    let with = |model, thinking, effort: Option<&str>| Chat {
        thinking,
        reasoning_effort: effort.map(Into::into),
        ..chat_for(model)
    };
    assert!(answers_with_thinking(with("deepseek-chat", Some(true), None)).await);
    assert!(!answers_with_thinking(with("deepseek-chat", None, Some("high"))).await);
    assert!(answers_with_thinking(with("deepseek-reasoner", Some(false), None)).await);
    assert!(!answers_with_thinking(with("deepseek-v3.2-nothinking", Some(true), None)).await);
    assert!(answers_with_thinking(with("deepseek-v3.2-exp", None, Some("low"))).await);
    assert!(!answers_with_thinking(with("deepseek-v3.2-exp", Some(false), Some("low"))).await);
    assert!(!answers_with_thinking(with("minnow", None, Some("none"))).await);
}

#[tokio::test]
async fn unknown_models_and_forbidden_ones_are_told_apart() {
    let gateway = gateway();
    let models: Arc<[String]> = vec!["DEEPSEEK-CHAT".to_owned()].into();
    let caller = Caller { key_name: Some("alice".into()), allowed_models: Some(models), ..Caller::default() };
    let refusal = async |model| gateway.answer(&caller, chat_for(model)).await.err().expect("this is refused");
    assert_eq!(refusal("gpt-4o").await, Error::invalid("Model Not Exist"));
    assert_eq!(refusal("deepseek-reasoner").await.kind, ErrorKind::Forbidden);
    assert!(gateway.answer(&caller, chat_for("deepseek-chat")).await.is_ok());
    let ids: Vec<_> = gateway.models(&caller).into_iter().map(|listed| listed.id).collect();
    assert_eq!(ids, [Arc::from("deepseek-chat")]);
    assert_eq!(gateway.models(&Caller::default()).len(), 10);
}

#[tokio::test]
async fn a_chat_that_is_refused_never_reaches_the_provider() {
    let echo = Arc::new(Echo::default());
    let gateway = Gateway::new(Router::for_local_model(echo.clone(), "", false), Arc::default());
    let mut chat = chat_for("deepseek-chat");
    chat.sampling.temperature = Some(3.0);
    assert_eq!(gateway.answer(&Caller::default(), chat).await.err().unwrap().message, "too hot");
    assert_eq!(echo.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_stream_passes_untouched_and_its_usage_is_seen() {
    let mut answer = gateway().answer(&Caller::default(), chat_for("deepseek-chat")).await.unwrap();
    assert_eq!((answer.notes(), answer.usage()), (vec!["lenient".to_owned()], None));
    let deltas: Vec<_> = answer.by_ref().collect().await;
    assert_eq!(deltas.len(), 4);
    assert_eq!(answer.usage().unwrap().prompt_tokens, 3);
}

#[test]
fn an_alias_leads_somewhere_and_hides_nothing() {
    let mut router = Router::for_local_model(Arc::new(Echo::default()), "DeepSeek-V3.2", false);
    assert_eq!(router.model_infos().count(), FAMILY_IDS);
    assert!(matches!(router.add_alias("x", "nope"), Err(AliasError::UnknownTarget { .. })));
    assert!(matches!(router.add_alias("deepseek-CHAT", "deepseek-v3.2"), Err(AliasError::Taken { .. })));
}

const FAMILY_IDS: usize = 8;

#[test]
fn a_gateway_is_ready_when_its_providers_are() {
    let echo = Arc::new(Echo::default());
    let gateway = Gateway::new(Router::for_local_model(echo.clone(), "", false), Arc::default());
    assert!(gateway.is_ready());
    echo.starting.store(true, Ordering::Relaxed);
    assert!(!gateway.is_ready());
    assert!(Gateway::new(Router::default(), Arc::default()).is_ready());
}

#[tokio::test]
async fn users_of_different_keys_are_different_users() {
    let user_seen_by_provider = async |key: Option<&str>, user: Option<&str>| {
        let caller = Caller { key_name: key.map(Into::into), allowed_models: None, ..Caller::default() };
        let chat = Chat { user: user.map(Into::into), ..chat_for("deepseek-chat") };
        let deltas: Vec<_> = gateway().answer(&caller, chat).await.unwrap().collect().await;
        match deltas.into_iter().nth(1) {
            Some(Ok(Delta::Text { text, .. })) => text.rsplit_once(": ").unwrap().1.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(user_seen_by_provider(None, None).await, "None");
    assert_eq!(user_seen_by_provider(None, Some("u")).await, "Some(\"u\")");
    assert_eq!(user_seen_by_provider(Some("alice"), None).await, r#"Some("alice\0")"#);
    assert_ne!(
        user_seen_by_provider(Some("alice"), Some("u")).await,
        user_seen_by_provider(Some("bob"), Some("u")).await
    );
    assert_ne!(
        user_seen_by_provider(Some("a"), Some("b/c")).await,
        user_seen_by_provider(Some("a/b"), Some("c")).await
    );
}
