//! The latent cache: per layer one arena each of latents, rope keys and (with an indexer) index
//! keys, 64 rows a page.
//!
//! A page id names the same 64 rows in every arena. The engine assigns pages to sequences.
//! The content of a row depends only on its own sequence; a sequence is truncated by
//! overwriting its later rows.

use kernels::{Arena, CachePosition, PAGE_ROWS, RowFormat, Rows};

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
            index_key: config.indexer.as_ref().map(|index| (index.head_dim, options.index_key_format(ue8m0))),
        }
    }

    /// Bytes of one position in one layer.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |(width, format): (usize, RowFormat)| format.row_bytes(width);
        bytes(self.latent) + bytes(self.rope_key) + self.index_key.map_or(0, bytes)
    }
}

/// Bytes of one position in the cache of one layer (`docs/model.md` section 12).
pub fn position_bytes(config: &Config, options: &Options) -> usize {
    RowShape::new(config, options).bytes()
}

/// Cache rows of all layers; the MTP module is one more layer.
pub struct LatentCache {
    pub(crate) layers: Vec<LayerCache>,
    /// The rows of models that do not cache latents.
    custom_rows: Option<Arena>,
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
        Self { layers: (0..layers).map(layer).collect(), custom_rows: None, pages }
    }

    /// A cache of rows of `width` numbers, for models that do not cache latents.
    pub fn with_custom_rows(pages: usize, width: usize) -> Self {
        let rows = Arena::new(pages * PAGE_ROWS, width, RowFormat::F32);
        Self { layers: Vec::new(), custom_rows: Some(rows), pages }
    }

    /// The rows of [`LatentCache::with_custom_rows`].
    pub fn custom_rows_mut(&mut self) -> Option<&mut Arena> {
        self.custom_rows.as_mut()
    }

    /// Bytes of one page in all arenas.
    pub fn page_bytes(&self) -> usize {
        self.arenas().map(|arena| arena.row_bytes() * PAGE_ROWS).sum()
    }

    /// The bytes of a page: its rows in every arena, one arena after the other.
    pub fn read_page(&self, page: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.page_bytes());
        for arena in self.arenas() {
            bytes.extend_from_slice(arena.rows(page as usize * PAGE_ROWS, PAGE_ROWS));
        }
        bytes
    }

    /// Replaces a page by the bytes that [`LatentCache::read_page`] returned for a cache
    /// of the same shape.
    ///
    /// # Panics
    /// When the length of `bytes` is not that of one page.
    pub fn write_page(&mut self, page: u32, mut bytes: &[u8]) {
        assert_eq!(bytes.len(), self.page_bytes(), "a whole page");
        for arena in self.arenas_mut() {
            let (own, rest) = bytes.split_at(arena.row_bytes() * PAGE_ROWS);
            arena.write_rows(page as usize * PAGE_ROWS, own);
            bytes = rest;
        }
    }

    fn arenas<'a>(&'a self) -> impl Iterator<Item = &'a Arena> {
        let arenas = |layer: &'a LayerCache| {
            let LayerCache { latents, rope_keys, index_keys } = layer;
            [Some(latents), Some(rope_keys), index_keys.as_ref()].into_iter().flatten()
        };
        self.layers.iter().flat_map(arenas).chain(&self.custom_rows)
    }

    fn arenas_mut<'a>(&'a mut self) -> impl Iterator<Item = &'a mut Arena> {
        let arenas = |layer: &'a mut LayerCache| {
            let LayerCache { latents, rope_keys, index_keys } = layer;
            [Some(latents), Some(rope_keys), index_keys.as_mut()].into_iter().flatten()
        };
        self.layers.iter_mut().flat_map(arenas).chain(&mut self.custom_rows)
    }

    /// Fills every row with seeded noise, for benchmarks of deep contexts.
    pub fn fill_with_noise(&mut self, seed: u64) {
        let mut state = seed;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let slots = self.pages * PAGE_ROWS;
        for arena in self.arenas_mut() {
            for slot in 0..slots {
                let row: Vec<f32> = (0..arena.width()).map(|_| noise()).collect();
                arena.write(slot, &row);
            }
        }
    }

    /// Number of pages; ids are smaller.
    pub fn pages(&self) -> usize {
        self.pages
    }
}

impl LayerCache {
    /// Stores the rows of a batch at their positions. `rope_keys` are the last columns of `kv`.
    pub(crate) fn write(
        &mut self,
        positions: &[CachePosition<'_>],
        latents: &Rows,
        kv: &Rows,
        index_keys: Option<&Rows>,
    ) {
        for (i, at) in positions.iter().enumerate() {
            let slot = at.own_slot();
            self.latents.write(slot, latents.row(i));
            self.rope_keys.write(slot, &kv.row(i)[latents.width()..]);
            if let (Some(arena), Some(rows)) = (&mut self.index_keys, index_keys) {
                arena.write(slot, rows.row(i));
            }
        }
    }
}
