//! `cachalot bench`: speed on this machine. `depth` shows the effect of sparse attention; `speed`
//! measures a checkpoint.

use std::time::Instant;

use anyhow::{Result, ensure};
use model::config::Config;
use model::{Batch, Info, LogitsWanted, PAGE_ROWS, Span};
use serde_json::json;
use weights::Checkpoint;

use crate::load::{self, ArithmeticDefaults, ModelArgs};

/// Measure speed on this machine
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: BenchCommand,
}

const EXAMPLES: &str = "\
Examples:
  cachalot bench depth
  cachalot bench speed --model fixture --prompt 4096";

#[derive(clap::Subcommand)]
enum BenchCommand {
    /// Time per decoded token at growing depths of the cache
    ///
    /// The model is random, with the attention shapes of DeepSeek V3.2: hidden size 1024, 4 layers,
    /// 32 heads, latent 512+64, indexer 16 x 128, top-k 2048, 64K context.
    Depth {
        #[command(flatten)]
        model: ModelArgs,
        /// Positions already in the cache, separated by commas
        #[arg(long, value_delimiter = ',', default_value = "1024,2048,4096,8192,16384,32768,65000")]
        depths: Vec<usize>,
        /// Tokens decoded at each depth; the median is printed
        #[arg(long, default_value_t = 24)]
        tokens: usize,
    },
    /// Tokens per second of a checkpoint, for prompts and for decoding
    Speed {
        #[command(flatten)]
        model: ModelArgs,
        /// Tokens of the prompt
        #[arg(long, default_value_t = 1024)]
        prompt: usize,
        /// Tokens decoded after the prompt
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Sequences decoded side by side
        #[arg(long, default_value_t = 1)]
        batch: usize,
    },
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        BenchCommand::Depth { model, depths, tokens } => depth(model, depths, *tokens),
        BenchCommand::Speed { model, prompt, tokens, batch } => speed(model, *prompt, *tokens, *batch),
    }
}

fn depth(args: &ModelArgs, depths: &[usize], tokens: usize) -> Result<()> {
    ensure!(tokens > 0, "--tokens must be at least 1");
    let config = json!({
        "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "vocab_size": 8192, "hidden_size": 1024,
        "intermediate_size": 4096, "moe_intermediate_size": 512, "num_hidden_layers": 4, "first_k_dense_replace": 1,
        "num_attention_heads": 32, "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4,
        "topk_group": 2, "q_lora_rank": 512, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "index_n_heads": 16, "index_head_dim": 128, "index_topk": 2048, "routed_scaling_factor": 2.5,
        "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "max_position_embeddings": 65536, "num_nextn_predict_layers": 0,
    });
    let checkpoint = random_checkpoint(&config)?;
    let mut model = model::load(&checkpoint, &args.options(ArithmeticDefaults::Fast)?)?;
    print_machine(model.info());
    let context = model.info().context;
    ensure!(
        depths.iter().all(|depth| depth.saturating_add(tokens) <= context),
        "the model's context is {context}: --depths and --tokens must fit"
    );

    let mut cache = model.new_cache(context.div_ceil(PAGE_ROWS));
    // The time of a step does not depend on the values of the cached rows.
    cache.fill_with_noise(1);
    let pages: Vec<u32> = (0..cache.pages() as u32).collect();
    println!("{:>10} {:>12} {:>8}", "depth", "ms/token", "ratio");
    let mut first = None;
    for &depth in depths {
        let mut times = Vec::new();
        for i in 0..tokens + 2 {
            let span = Span {
                tokens: &[i as u32 + 7],
                start: depth + i.min(tokens - 1),
                pages: &pages,
                logits: LogitsWanted::Last,
                attention: None,
            };
            let start = Instant::now();
            model.forward(&Batch { spans: vec![span] }, &mut cache, &mut ());
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // The first two warm up.
        let median = median(&mut times[2..]);
        println!("{depth:>10} {median:>12.2} {:>8.2}", median / *first.get_or_insert(median));
    }
    Ok(())
}

fn speed(args: &ModelArgs, prompt: usize, tokens: usize, batch: usize) -> Result<()> {
    ensure!(prompt > 0 && tokens > 0 && batch > 0, "--prompt, --tokens and --batch must be at least 1");
    let mut model = load::model(args, ArithmeticDefaults::Fast)?.model;
    print_machine(model.info());
    let (context, vocab) = (model.info().context, model.info().vocab_size);
    ensure!(
        prompt.saturating_add(tokens) <= context,
        "the model's context is {context}: --prompt and --tokens must fit"
    );
    let per_sequence = (prompt + tokens).div_ceil(PAGE_ROWS);
    let mut cache = model.new_cache(per_sequence * batch);
    let pages = |seq: usize| (seq * per_sequence..(seq + 1) * per_sequence).map(|page| page as u32).collect::<Vec<_>>();
    let pages: Vec<Vec<u32>> = (0..batch).map(pages).collect();
    let token = |seq: usize, i: usize| ((i * 7919 + seq * 104_729) % vocab) as u32;

    let start = Instant::now();
    for (seq, pages) in pages.iter().enumerate() {
        let ids: Vec<u32> = (0..prompt).map(|i| token(seq, i)).collect();
        for (i, tokens) in ids.chunks(256).enumerate() {
            model.forward(
                &Batch {
                    spans: vec![Span { tokens, start: i * 256, pages, logits: LogitsWanted::Last, attention: None }],
                },
                &mut cache,
                &mut (),
            );
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("prompt: {:.1} tokens/s ({batch} x {prompt} tokens, chunks of 256)", (batch * prompt) as f64 / seconds);

    let mut times = Vec::new();
    for i in prompt..prompt + tokens {
        let ids: Vec<[u32; 1]> = (0..batch).map(|seq| [token(seq, i)]).collect();
        let spans = ids
            .iter()
            .zip(&pages)
            .map(|(tokens, pages)| Span { tokens, start: i, pages, logits: LogitsWanted::Last, attention: None })
            .collect();
        let start = Instant::now();
        model.forward(&Batch { spans }, &mut cache, &mut ());
        times.push(start.elapsed().as_secs_f64());
    }
    let median = median(&mut times);
    println!("decode: {:.1} tokens/s ({batch} at a time, {:.2} ms a step)", batch as f64 / median, median * 1e3);
    Ok(())
}

fn print_machine(info: &Info) {
    println!(
        "{} threads, {} kernels, {:?} products, {} attention",
        info.threads, info.isa, info.compute, info.attention
    );
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A checkpoint of seeded bf16 noise for `config`, in memory.
fn random_checkpoint(config: &serde_json::Value) -> Result<Checkpoint> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (i, tensor) in model::tensors::expected_tensors(&Config::from_json(config)?).iter().enumerate() {
        let start = data.len();
        let inputs = *tensor.shape.last().unwrap_or(&1);
        let mut state = i as u64;
        for _ in 0..tensor.shape.iter().product::<usize>() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            // Norm weights near one, matrices that keep the variance of their input.
            let value =
                if tensor.shape.len() == 1 { 1.0 + uniform * 0.1 } else { uniform * 3.4 / (inputs as f32).sqrt() };
            data.extend_from_slice(&((value.to_bits() >> 16) as u16).to_le_bytes());
        }
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, data.len()] }),
        );
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    let files = vec![
        ("config.json".to_string(), config.to_string().into_bytes().into()),
        ("model.safetensors".to_string(), file.into()),
    ];
    Ok(Checkpoint::from_files("random", files)?)
}
