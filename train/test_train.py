"""Checks of the training code on tiny models: python test_train.py"""

import os
import tempfile

import torch

import chat_format as cf
import checkpoint
import export_fp8
import fp8
import losses
import model as M
from optimizer import Optimizer
from presets import PRESETS


def tiny(**kw):
    torch.manual_seed(3)
    return M.Model(M.Config(**{**PRESETS["toy"]["model"], "vocab_size": 256, **kw})).eval()


def test_sparse_equals_dense_when_k_covers_the_row():
    net = tiny(index_topk=48)
    ids = torch.randint(3, 256, (2, 48))
    with torch.no_grad():
        dense = net(ids)
        net.mode, net.chunk = "sparse", 16
        assert torch.allclose(net(ids), dense, atol=1e-4)
        net.topk = 8
        assert not torch.allclose(net(ids), dense, atol=1e-2)


def test_tied_index_scores_keep_the_lower_position():
    scores = torch.zeros(1, 1, 100)
    scores[..., 70] = 1.0
    assert M.best_positions(scores, 8)[0, 0].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 70]
    scores = torch.randn(2, 3, 100)
    best = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(8, -1)[1], True)
    assert torch.equal(M.best_positions(scores, 8), best)


def test_checkpoint_round_trip():
    net = tiny()
    net.set_context(4.0, 1024)
    ids = torch.randint(3, 256, (1, 40))
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        checkpoint.save_hf(net, d, torch.float32, shard=1 << 18)
        assert len([f for f in os.listdir(d) if f.endswith(".safetensors")]) > 1
        back = checkpoint.load_hf(d)
        assert torch.equal(back.eval()(ids), net(ids))


def test_moe_implementations_agree():
    net = tiny()
    moe = next(m for m in net.modules() if isinstance(m, M.MoE))
    x = torch.randn(2, 24, net.c.hidden_size)
    ys = []
    for impl in ("loop", "all"):
        M.MoE.impl = impl
        ys.append(moe(x)[0])
    M.MoE.impl = "loop"
    assert torch.allclose(ys[0], ys[1], atol=1e-5)


def test_gradients_go_where_the_recipe_says():
    net = tiny().train()
    ids, ws = torch.randint(3, 256, (2, 66)), torch.ones(2, 66)
    for mode in ("dense", "warmup", "sparse"):
        net.mode, net.chunk, net.topk = mode, 32, 16
        for n, p in net.named_parameters():
            p.requires_grad_(mode != "warmup" or "indexer" in n)
        net.zero_grad(set_to_none=True)
        losses.step_loss(net, ids, ws, mode, 0.3)[0].backward()
        got = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        indexer = {n for n in got if "indexer" in n}
        assert bool(indexer) == (mode != "dense") and (mode != "warmup" or got == indexer)
    # the indexer learns from the KL alone
    net.zero_grad(set_to_none=True)
    h, kl, _ = net.hidden(ids[:, :-2])
    losses.token_loss(h, net.lm_head, ids[:, 1:-1], ws[:, 1:-1]).backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for n, p in net.named_parameters() if "indexer" in n)


def test_the_optimizer_lowers_the_loss():
    net = tiny().train()
    ids, ws = torch.randint(3, 256, (2, 66)), torch.ones(2, 66)
    opt = Optimizer([(n, p) for n, p in net.named_parameters() if "indexer" not in n])
    got = []
    for _ in range(20):
        loss, _ = losses.step_loss(net, ids, ws, "dense", 0.3)
        loss.backward()
        opt.step(5e-3)
        net.zero_grad(set_to_none=True)
        got.append(float(loss.detach()))
    assert got[-1] < 0.8 * got[0], got


def test_balancing_pushes_the_bias_against_the_load():
    net = tiny()
    moe = next(m for m in net.modules() if isinstance(m, M.MoE))
    for m in net.modules():
        if isinstance(m, M.MoE):
            m.load += 1.0
    moe.load[2] = 9.0
    assert losses.balance(net, 0.01) > 4.0
    bias = moe.gate.e_score_correction_bias
    assert bias[2] < 0 and (bias[3:] > 0).all() and (moe.load == 0).all()


def test_fp8_rounds_to_nearest_even_in_power_of_two_blocks():
    x = torch.tensor([448.0, 449.0, 17.0, 18.0, 19.0, 2.0 ** -9, 2.0 ** -10, 0.0146484375])
    assert x.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8).tolist() == [0x7E, 0x7E, 0x58, 0x59, 0x5A, 0x01, 0x00, 0x08]
    x = torch.tensor([[(37 * i % 101 - 50) / 16 for i in range(128)]])  # amax 3.125
    q, s = fp8.quantise(x)
    assert s.tolist() == [[2.0 ** -7]]
    assert q.view(torch.uint8)[0, :12].tolist() == [0xFC, 0xED, 0x74, 0xFA, 0xDC, 0x78, 0xF7, 0x66, 0x7B, 0xF2, 0x70, 0xFC]
    assert int(q.view(torch.uint8).long().sum()) == 22545
    # an amax of 448 * 2^n keeps the scale 2^n; anything above takes the next power
    assert fp8.power_of_two_scale(torch.tensor([448.0, 448.1, 447.9, 224.0])).tolist() == [1.0, 2.0, 1.0, 0.5]


def test_fp8_edge_blocks_have_their_own_scale():
    x = torch.ones(130, 200)
    x[:, 128:] = 1000.0
    x[128:] = 0.001
    q, s = fp8.quantise(x)
    assert tuple(q.shape) == (130, 200) and s.dtype == torch.float32
    # 1 -> 2^-8 (448 * 2^-9 < 1), 1000 -> 4, 0.001 -> 2^-18
    assert s.tolist() == [[2.0 ** -8, 4.0], [2.0 ** -18, 2.0 ** -18]]
    assert ((fp8.dequantise(q, s) - x).abs() <= x.abs() / 16).all()


def test_an_fp8_checkpoint_loads_back_within_its_rounding():
    net = tiny()
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        checkpoint.save_hf(net, os.path.join(d, "bf16"))
        config, source = checkpoint.read(os.path.join(d, "bf16"))
        made = export_fp8.export(source)
        checkpoint.write(made, config, os.path.join(d, "fp8"))
        assert made["model.layers.0.self_attn.indexer.wk.weight"].dtype == torch.float8_e4m3fn
        for kept in ("model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.gate.weight", "model.layers.0.self_attn.indexer.weights_proj.weight", "model.layers.3.eh_proj.weight"):
            assert made[kept].dtype == torch.bfloat16 and kept + "_scale_inv" not in made
        norm, worst, _ = export_fp8.errors(source, checkpoint.read(os.path.join(d, "fp8"))[1])
        assert norm < 0.035 and worst <= 0.0625
        want = checkpoint.load_hf(os.path.join(d, "bf16")).state_dict()
        for n, t in checkpoint.load_hf(os.path.join(d, "fp8")).state_dict().items():
            off = float((t - want[n]).norm() / want[n].norm().clamp_min(1e-9))
            assert off < 0.035, (n, off)


def test_render():
    m = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "reasoning": "greet"}]
    text = "".join(s for s, _ in cf.render(m, thinking=True))
    assert text == cf.BOS + cf.USER + "Hi" + cf.ASSISTANT + "<think>greet</think>Hello" + cf.EOS


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, fn in list(globals().items()):
        if name.startswith("test_"):
            fn()
            print("ok", name)
