//! The latent cache: per layer one arena each of latents, rope keys and (with an indexer) index keys, 64 rows a page.
//!
//! A page id names the same 64 rows in every arena. Which sequence owns which page is the engine's business; what is in a row is
//! decided by its own sequence alone, and a sequence is cut back by writing over the rows behind the cut.

use kernels::{Arena, PAGE_ROWS, Place, RowFormat, Rows};

use crate::config::Config;
use crate::options::Options;

/// The rows of one layer.
pub(crate) struct LayerCache {
    /// `[slots, kv_lora_rank]`
    pub(crate) latents: Arena,
    /// `[slots, qk_rope_head_dim]`
    pub(crate) rope_keys: Arena,
    /// `[slots, index_head_dim]`
    pub(crate) index_keys: Option<Arena>,
}

/// Widths and formats of the rows of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowShape {
    pub(crate) latent: (usize, RowFormat),
    pub(crate) rope_key: (usize, RowFormat),
    pub(crate) index_key: Option<(usize, RowFormat)>,
}

impl RowShape {
    pub(crate) fn new(config: &Config, options: &Options) -> Self {
        let ue8m0 = config.ue8m0();
        Self {
            latent: (config.kv_lora_rank, options.latent_format(ue8m0)),
            rope_key: (config.qk_rope_head_dim, options.rope_key_format()),
            index_key: config.index.as_ref().map(|index| (index.head_dim, options.index_key_format(ue8m0))),
        }
    }

    /// Bytes of one position in one layer.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |(width, format): (usize, RowFormat)| format.row_bytes(width);
        bytes(self.latent) + bytes(self.rope_key) + self.index_key.map_or(0, bytes)
    }
}

/// Bytes that one position takes in the cache of one layer (`docs/model.md` section 12).
pub fn position_bytes(config: &Config, options: &Options) -> usize {
    RowShape::new(config, options).bytes()
}

/// Cache rows of all layers; the MTP module is one more layer.
pub struct LatentCache {
    pub(crate) layers: Vec<LayerCache>,
    pages: usize,
}

impl LatentCache {
    pub(crate) fn new(layers: usize, shape: RowShape, pages: usize) -> Self {
        let arena = |(width, format)| Arena::new(pages * PAGE_ROWS, width, format);
        let layer = |_| LayerCache {
            latents: arena(shape.latent),
            rope_keys: arena(shape.rope_key),
            index_keys: shape.index_key.map(arena),
        };
        Self { layers: (0..layers).map(layer).collect(), pages }
    }

    /// A cache of pages without rows, for models that remember by other means.
    pub fn without_rows(pages: usize) -> Self {
        Self { layers: Vec::new(), pages }
    }

    /// Fills every row with seeded noise, for benchmarks of deep contexts.
    pub fn fill_with_noise(&mut self, seed: u64) {
        let mut state = seed;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        for layer in &mut self.layers {
            for arena in
                [Some(&mut layer.latents), Some(&mut layer.rope_keys), layer.index_keys.as_mut()].into_iter().flatten()
            {
                for slot in 0..self.pages * PAGE_ROWS {
                    let row: Vec<f32> = (0..arena.width()).map(|_| noise()).collect();
                    arena.write(slot, &row);
                }
            }
        }
    }

    /// Pages there are; ids are below this.
    pub fn pages(&self) -> usize {
        self.pages
    }
}

impl LayerCache {
    /// Stores the rows of a batch at their places. `rope_keys` are the last columns of `kv`.
    pub(crate) fn write(&mut self, places: &[Place<'_>], latents: &Rows, kv: &Rows, index_keys: Option<&Rows>) {
        for (i, place) in places.iter().enumerate() {
            let slot = place.own_slot();
            self.latents.write(slot, latents.row(i));
            self.rope_keys.write(slot, &kv.row(i)[latents.width()..]);
            if let (Some(arena), Some(rows)) = (&mut self.index_keys, index_keys) {
                arena.write(slot, rows.row(i));
            }
        }
    }
}
