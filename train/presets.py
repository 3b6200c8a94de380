"""Sizes and schedules of the three trainings: `gpu` for one large GPU, `cpu` for two cores (the fixture model), `toy` for tests."""

# rows: [(row length, share of the steps)], tokens: tokens per optimizer step, micro: tokens per forward pass
PRESETS = {
    "gpu": dict(
        model=dict(),
        yarn=8.0, max_len=32768, workers=14, chunk=512, bias=2e-3,
        stages=[
            dict(name="pre", seconds=500, mode="dense", mix="pre", rows=[(2048, 1.0)], long_chars=(800, 5500), tokens=131072, micro=65536, lr=3e-3, end=0.55, warm=100),
            dict(name="long", seconds=400, mode="dense", mix="sft", rows=[(4096, 0.5), (8192, 0.3), (16384, 0.14), (32768, 0.06)], long_chars=(2000, 24000), tokens=131072, micro=65536, lr=1.65e-3, end=0.08, warm=20),
            dict(name="warmup", seconds=80, mode="warmup", mix="sft", rows=[(4096, 0.7), (8192, 0.3)], long_chars=(2000, 24000), tokens=16384, micro=16384, lr=6e-3, end=0.3, warm=20),
            dict(name="sparse", seconds=340, mode="sparse", mix="sft", rows=[(4096, 0.55), (8192, 0.35), (16384, 0.10)], long_chars=(2000, 24000), tokens=65536, micro=32768, lr=2.5e-4, end=0.1, warm=20, index_lr=10.0),
        ]),
    "cpu": dict(
        model=dict(hidden_size=256, intermediate_size=704, moe_intermediate_size=64, num_hidden_layers=5, num_attention_heads=4, n_routed_experts=8, num_experts_per_tok=2, n_group=2,
                   topk_group=1, q_lora_rank=128, kv_lora_rank=64, v_head_dim=64, index_n_heads=2, index_topk=128, original_max_position_embeddings=1024, max_position_embeddings=1024),
        yarn=8.0, max_len=8192, workers=0, chunk=256, bias=4e-3, thin=0.75, mtp_share=0.25,
        stages=[
            dict(name="pre", seconds=3600, mode="dense", mix="small", rows=[(512, 1.0)], long_chars=(300, 1200), tokens=8192, micro=8192, lr=4e-3, end=0.5, warm=50),
            dict(name="long", seconds=1800, mode="dense", mix="small", rows=[(1024, 0.7), (2048, 0.3)], long_chars=(600, 5500), tokens=8192, micro=8192, lr=2e-3, end=0.1, warm=10),
            dict(name="warmup", seconds=500, mode="warmup", mix="small", rows=[(1024, 0.6), (2048, 0.4)], long_chars=(600, 5500), tokens=2048, micro=2048, lr=1e-2, end=0.3, warm=10),
            dict(name="sparse", seconds=1300, mode="sparse", mix="small", rows=[(1024, 0.6), (2048, 0.4)], long_chars=(600, 5500), tokens=8192, micro=4096, lr=3e-4, end=0.1, warm=5, index_lr=10.0),
        ]),
    "toy": dict(
        model=dict(hidden_size=64, intermediate_size=128, moe_intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, n_routed_experts=8, num_experts_per_tok=2, n_group=2,
                   topk_group=1, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16, index_n_heads=2, index_head_dim=32, index_topk=32,
                   original_max_position_embeddings=256, max_position_embeddings=256),
        yarn=4.0, max_len=1024, workers=0, chunk=64, bias=1e-2, thin=0.75, mtp_share=0.5,
        stages=[
            dict(name="pre", seconds=60, mode="dense", mix="pre", rows=[(128, 1.0)], long_chars=(100, 300), tokens=2048, micro=2048, lr=6e-3, end=0.5, warm=10),
            dict(name="long", seconds=30, mode="dense", mix="sft", rows=[(256, 1.0)], long_chars=(200, 600), tokens=2048, micro=2048, lr=3e-3, end=0.1, warm=5),
            dict(name="warmup", seconds=20, mode="warmup", mix="sft", rows=[(256, 1.0)], long_chars=(200, 600), tokens=2048, micro=1024, lr=1e-2, end=0.3, warm=5),
            dict(name="sparse", seconds=30, mode="sparse", mix="sft", rows=[(256, 1.0)], long_chars=(200, 600), tokens=2048, micro=1024, lr=5e-4, end=0.1, warm=5, index_lr=10.0),
        ]),
}
