//! DeepSeek V3, R1, V3.1 (`deepseek_v3`) and V3.2 (`deepseek_v32`): embedding, blocks, head,
//! and the MTP module.

use kernels::{CachePosition, Cpu, Linear, Mat, Rows, rms_norm};
use weights::Checkpoint;

use crate::cache::{LatentCache, LayerCache, RowShape};
use crate::config::Config;
use crate::error::Error;
use crate::head::Head;
use crate::mla::Mla;
use crate::model::{Batch, Info, Model, Output};
use crate::moe::FeedForward;
use crate::options::{AttentionPath, Options};
use crate::rope::Rope;
use crate::scratch::Scratch;
use crate::tap::Tap;
use crate::tensors::EMBEDDING;

/// A loaded model of the family.
pub struct Deepseek {
    cpu: Cpu,
    rope: Rope,
    /// `[vocab_size, hidden_size]`
    embed_tokens: Mat,
    blocks: Vec<Block>,
    norm: Vec<f32>,
    lm_head: Head,
    mtp: Option<Mtp>,
    eps: f32,
    shape: RowShape,
    scratch: Scratch,
    output: Output,
    info: Info,
    /// The attention path of spans without one.
    attention: AttentionPath,
}

/// One decoder layer: pre-norm attention and feed-forward, each added to the residual stream.
struct Block {
    layer: usize,
    input_layernorm: Vec<f32>,
    attention: Mla,
    post_attention_layernorm: Vec<f32>,
    feed_forward: FeedForward,
    eps: f32,
}

/// The multi-token-prediction module (`docs/model.md` section 10): one more block over the
/// embedding of the next token and the final hidden state. It shares the embedding and the head.
struct Mtp {
    enorm: Vec<f32>,
    hnorm: Vec<f32>,
    /// `[hidden_size, 2 * hidden_size]`: the embedding half first.
    eh_proj: Mat,
    block: Block,
    /// `shared_head.norm`
    norm: Vec<f32>,
    /// Working memory, `[n, 2 * hidden_size]`.
    joined: Rows,
}

impl Deepseek {
    /// Loads the weights of `config` from the checkpoint. Only norms, biases and scales are copied.
    ///
    /// # Errors
    /// A tensor that is missing, or has another shape or number format than the config implies.
    pub fn load(checkpoint: &Checkpoint, config: &Config, options: &Options) -> Result<Self, Error> {
        let hidden = config.hidden_size;
        let vocab = config.vocab_size;
        let block = |layer| Block::load(checkpoint, layer, config, options);
        let blocks = (0..config.num_hidden_layers).map(block).collect::<Result<Vec<_>, _>>()?;
        let mtp = config.num_hidden_layers;
        let has_mtp =
            config.num_nextn_predict_layers > 0 && checkpoint.contains(&format!("model.layers.{mtp}.eh_proj.weight"));
        let rope = Rope::new(config);
        let shape = RowShape::new(config, options);
        let cpu = match options.isa {
            Some(isa) => Cpu::with_isa(options.threads, options.compute, isa).ok_or(Error::Isa(isa))?,
            None => Cpu::new(options.threads, options.compute),
        };
        let embed_tokens = checkpoint.mat(EMBEDDING, vocab, hidden)?;
        let sparse = config.indexer.is_some() && options.attention == AttentionPath::Sparse;
        let info = Info {
            model_type: config.model_type.clone(),
            vocab_size: vocab,
            context: config.max_position_embeddings,
            page_bytes: shape.bytes() * kernels::PAGE_ROWS * (blocks.len() + usize::from(has_mtp)),
            attention: if sparse { "sparse" } else { "dense" },
            has_indexer: config.indexer.is_some(),
            compute: options.compute,
            isa: cpu.isa(),
            threads: cpu.threads(),
        };
        Ok(Self {
            norm: checkpoint.vector("model.norm.weight", hidden)?,
            lm_head: Head::load(checkpoint, config, &embed_tokens)?,
            embed_tokens,
            mtp: has_mtp.then(|| Mtp::load(checkpoint, mtp, config, options)).transpose()?,
            blocks,
            eps: config.rms_norm_eps as f32,
            shape,
            scratch: Scratch::new(config, &rope),
            output: Output { hidden: Rows::new(hidden), logits: Rows::new(vocab) },
            rope,
            cpu,
            info,
            attention: options.attention,
        })
    }
}

impl Model for Deepseek {
    fn info(&self) -> &Info {
        &self.info
    }

    fn new_cache(&self, pages: usize) -> LatentCache {
        LatentCache::new(self.blocks.len() + usize::from(self.mtp.is_some()), self.shape, pages)
    }

    fn forward(&mut self, batch: &Batch<'_>, cache: &mut LatentCache, tap: &mut dyn Tap) -> &Output {
        let positions = batch.positions();
        let s = &mut self.scratch;
        s.attention.paths.clear();
        s.attention.paths.extend(batch.paths(self.attention));
        self.rope.angles(&positions, &mut s.angles);
        self.cpu.embed(&self.embed_tokens, &batch.tokens(), &mut s.residual);
        tap.residual(0, &s.residual);
        for (block, cache) in self.blocks.iter().zip(&mut cache.layers) {
            block.forward(&self.cpu, &positions, cache, s, tap);
        }
        output_logits(
            &self.cpu,
            &s.residual,
            &batch.output_rows(),
            (&self.norm, self.eps),
            &mut self.lm_head,
            &mut self.output,
        );
        &self.output
    }

    fn draft(&mut self, batch: &Batch<'_>, hidden: &Rows, cache: &mut LatentCache) -> Option<&Output> {
        let mtp = self.mtp.as_mut()?;
        let positions = batch.positions();
        let s = &mut self.scratch;
        s.attention.paths.clear();
        s.attention.paths.extend(batch.paths(self.attention));
        self.rope.angles(&positions, &mut s.angles);
        self.cpu.embed(&self.embed_tokens, &batch.tokens(), &mut s.residual);
        mtp.join(&self.cpu, &mut s.residual, hidden, self.eps, &mut s.input);
        let cache = cache.layers.last_mut().expect("a cache of this model has the MTP layer last");
        mtp.block.forward(&self.cpu, &positions, cache, s, &mut ());
        output_logits(
            &self.cpu,
            &s.residual,
            &batch.output_rows(),
            (&mtp.norm, self.eps),
            &mut self.lm_head,
            &mut self.output,
        );
        Some(&self.output)
    }
}

/// Applies the final norm and the output head to the rows `rows`.
fn output_logits(
    cpu: &Cpu,
    residual: &Rows,
    rows: &[usize],
    (norm, eps): (&[f32], f32),
    head: &mut Head,
    output: &mut Output,
) {
    let mut picked = Rows::new(residual.width());
    picked.resize(rows.len());
    for (i, row) in rows.iter().enumerate() {
        picked.row_mut(i).copy_from_slice(residual.row(*row));
    }
    rms_norm(&picked, norm, eps, &mut output.hidden);
    head.logits(cpu, &output.hidden, &mut output.logits);
}

impl Block {
    fn load(checkpoint: &Checkpoint, layer: usize, config: &Config, options: &Options) -> Result<Self, weights::Error> {
        let prefix = format!("model.layers.{layer}");
        let norm = |name: &str| checkpoint.vector(&format!("{prefix}.{name}.weight"), config.hidden_size);
        Ok(Self {
            layer,
            input_layernorm: norm("input_layernorm")?,
            attention: Mla::load(checkpoint, &format!("{prefix}.self_attn"), config, options)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            feed_forward: FeedForward::load(checkpoint, &format!("{prefix}.mlp"), config, config.is_moe(layer))?,
            eps: config.rms_norm_eps as f32,
        })
    }

    fn forward(
        &self,
        cpu: &Cpu,
        positions: &[CachePosition<'_>],
        cache: &mut LayerCache,
        s: &mut Scratch,
        tap: &mut dyn Tap,
    ) {
        rms_norm(&s.residual, &self.input_layernorm, self.eps, &mut s.input);
        self.attention.forward(
            cpu,
            &s.input,
            &s.angles,
            positions,
            cache,
            &mut s.attention,
            self.layer,
            tap,
            &mut s.branch,
        );
        cpu.add(&mut s.residual, &s.branch);

        rms_norm(&s.residual, &self.post_attention_layernorm, self.eps, &mut s.input);
        self.feed_forward.forward(cpu, &s.input, &mut s.feed_forward, self.layer, tap, &mut s.branch);
        cpu.add(&mut s.residual, &s.branch);
        tap.residual(self.layer + 1, &s.residual);
    }
}

impl Mtp {
    fn load(checkpoint: &Checkpoint, layer: usize, config: &Config, options: &Options) -> Result<Self, weights::Error> {
        let hidden = config.hidden_size;
        let norm = |name: &str| checkpoint.vector(&format!("model.layers.{layer}.{name}.weight"), hidden);
        Ok(Self {
            enorm: norm("enorm")?,
            hnorm: norm("hnorm")?,
            eh_proj: checkpoint.mat(&format!("model.layers.{layer}.eh_proj.weight"), hidden, 2 * hidden)?,
            block: Block::load(checkpoint, layer, config, options)?,
            norm: norm("shared_head.norm")?,
            joined: Rows::new(2 * hidden),
        })
    }

    /// Replaces the embeddings in `residual` by `eh_proj([enorm(embedding) ; hnorm(hidden)])`.
    fn join(&mut self, cpu: &Cpu, residual: &mut Rows, hidden: &Rows, eps: f32, normed: &mut Rows) {
        self.joined.resize(residual.len());
        let width = residual.width();
        rms_norm(residual, &self.enorm, eps, normed);
        (0..residual.len()).for_each(|i| self.joined.row_mut(i)[..width].copy_from_slice(normed.row(i)));
        rms_norm(hidden, &self.hnorm, eps, normed);
        (0..residual.len()).for_each(|i| self.joined.row_mut(i)[width..].copy_from_slice(normed.row(i)));
        cpu.linear(&self.joined, &mut [Linear { w: &self.eh_proj, out: residual }]);
    }
}
