"""Checks that need neither the source nor the corpus: python test_minnow.py"""

import json
import random
import re
import shutil

import numpy as np
import torch

import adapter
import conversation
import calls
import coding
import convert
import converted
import jsons
import knowledge
import meetings
import memory
import minutes
import packed
import quantise
import results
import rounding
import rules
import seek
import source
import sums
import tales
import talk
import texts
import tuning
import chat_format as cf

MAKERS = [talk.identity, talk.greetings, talk.unknown, talk.missing, rules.honours_system, memory.memory, meetings.bullets_mix, minutes.minutes, meetings.actions_mix, sums.sums, sums.thought, texts.translate, texts.haiku, texts.reading,
          knowledge.facts, knowledge.explain, knowledge.lists, tales.tale, calls.tools, results.results, jsons.jsons, coding.coding]


def answers(c):
    return [m for m in c["m"] if m["role"] == "assistant"]


def test_every_conversation_can_be_rendered_and_ends_with_an_answer():
    r = random.Random(1)
    for make in MAKERS:
        for _ in range(300):
            c = make(r)
            text = "".join(s for s, _ in cf.render(c["m"], c["f"], c["thinking"], schema=c.get("schema")))
            assert c["m"][-1]["role"] == "assistant" and text.endswith(cf.EOS), (make, c)
            assert "{" not in c["m"][-1]["content"] or make in (jsons.jsons, meetings.actions_mix, coding.coding, rules.honours_system, texts.reading, talk.identity), (make, c)


def test_summaries_have_the_number_of_bullets_that_is_asked_for():
    r, word = random.Random(2), {v: k for k, v in meetings.NUM.items()}
    for _ in range(500):
        c = meetings.bullets(r)
        want = re.search(r"\b(\d|one|two|three|four|five|six)\b (?:bullet|main|key|most important|points)|exactly (\w+) bullet|(?:in|as) (\d|\w+) bullet", next(m["content"] for m in c["m"] if m["role"] == "user"))
        n = next(x for x in want.groups() if x)
        assert c["m"][-1]["content"].count("\n") + 1 == int(word.get(n, n)), c["m"]


def test_minutes_have_one_bullet_a_matter_and_only_numbers_that_were_said():
    r, word = random.Random(12), {v: k for k, v in minutes.NUM.items()}
    for _ in range(500):
        c = minutes.minutes(r)
        q, a = (next(m["content"] for m in c["m"] if m["role"] == x) for x in ("user", "assistant"))
        assert all(x.startswith("- ") for x in a.split("\n")), a
        assert set(re.findall(r"\d+", a)) <= set(re.findall(r"\d+", q)), (q, a)
        assert "{" not in q + a
        if n := re.search(r"\b([2-4]|two|three|four) bullet", q):
            assert a.count("\n") + 1 == int(word.get(n[1], n[1])), (q, a)


def test_answers_after_a_tool_say_what_it_returned():
    r = random.Random(13)
    for _ in range(500):
        c = results.results(r)
        known = {f["name"]: f["parameters"] for f in c["f"]}
        for call, result, answer in zip(c["m"], c["m"][1:], c["m"][2:]):
            if result["role"] == "tool":
                x = call["tool_calls"][0]
                assert set(known[x["name"]]["required"]) <= set(x["arguments"]) <= set(known[x["name"]]["properties"])
                said = result["content"] + json.dumps(x["arguments"], ensure_ascii=False)
                assert "error" in result["content"] or set(re.findall(r"\d+", answer["content"])) <= set(re.findall(r"\d+", said)), (said, answer)


def test_sums_are_right_and_thoughts_end_in_the_answer():
    r = random.Random(3)
    for _ in range(2000):
        c = sums.sums(r)
        said = c["m"][-1].get("reasoning", "") + " " + c["m"][-1]["content"]
        for a, op, b, v in re.findall(r"(?<![\d+] )(?<!\d)(\d+) ([-+x/]) (\d+) = (\d+)", said):
            a, b, v = int(a), int(b), int(v)
            assert {"+": a + b, "-": a - b, "x": a * b, "/": a / b}[op] == v, c["m"]
    for _ in range(300):
        c = sums.thought(r)
        last = re.findall(r"\d+", c["m"][-1]["reasoning"])[-1]
        assert last in c["m"][-1]["content"], c["m"]


def test_calls_have_all_required_arguments_of_the_right_type():
    r = random.Random(4)
    kinds = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict, "boolean": bool}
    asked_without = n = 0
    for _ in range(2000):
        c = calls.tools(r)
        tools = {t["name"]: t["parameters"] for t in c["f"]}
        for before, m in zip(c["m"], c["m"][1:]):
            if m["role"] != "assistant":
                continue
            n += before["role"] == "user"
            asked_without += before["role"] == "user" and not m.get("tool_calls")
            for call in m.get("tool_calls", []):
                p = tools[call["name"]]
                assert set(p["required"]) <= set(call["arguments"]) <= set(p["properties"]), call
                for k, v in call["arguments"].items():
                    assert isinstance(v, kinds[p["properties"][k]["type"]]), call
                    assert v in p["properties"][k].get("enum", [v]), call
    assert 0.3 * n < asked_without < 0.6 * n


def test_json_answers_follow_their_schema():
    r, seen = random.Random(5), 0
    kinds = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict, "boolean": bool}
    for _ in range(1500):
        c = jsons.jsons(r)
        if "schema" in c and c["schema"].get("type") == "json_schema":
            schema, x = c["schema"]["json_schema"]["schema"], json.loads(c["m"][-1]["content"])
            assert set(x) == set(schema["required"]), c
            for k, v in x.items():
                assert isinstance(v, kinds[schema["properties"][k]["type"]]) and v in schema["properties"][k].get("enum", [v]), c
            seen += 1
    assert seen > 500


def test_code_gives_what_it_promises():
    coding.check()


def test_a_phase_error_is_zero_for_equal_frequencies_only():
    e = convert.phase_error(np.array([[1.0], [0.1]]), np.array([[1.0, 0.1, 0.0]]))
    assert abs(e[0, 0]) < 1e-9 and abs(e[1, 1]) < 1e-9 and e[0, 1] > 0.5 and e[1, 2] > 0.5


def test_the_conversion_keeps_the_scores_of_attention():
    """Queries and keys of one layer give the source's scores at equal frequencies: three slots of each, no nope pairs."""
    torch.manual_seed(1)
    h = dict(layers=1, d=24, heads=9, kv=3, hd=8, theta=1e4)
    t = {"blk.0.attn_q.weight": torch.randn(72, 24), "blk.0.attn_k.weight": torch.randn(24, 24)}
    slot = np.arange(12).reshape(4, 3)
    mix = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 3, 3)) + 1j * np.random.default_rng(2).normal(size=(4, 3, 3)))[0]
    query, key = convert.attention_maps(t, h, 0, mix, slot, 24, 0)
    ang = torch.outer(torch.tensor([0.0, 5.0], dtype=torch.float64), 1e4 ** (-torch.arange(4, dtype=torch.float64) / 4))
    x = torch.randn(2, 24, dtype=torch.float64)
    q, k = (x @ t[f"blk.0.attn_{m}.weight"].double().t() for m in "qk")
    q, k = (source.rotate(z.view(2, -1, 8).transpose(0, 1), ang) for z in (q, k))
    want = torch.einsum("hsd,htd->hst", q, k.repeat_interleave(3, 0)) * 8 ** -0.5
    wide = ang.repeat_interleave(3, 1)
    got_q = source.rotate((x @ torch.from_numpy(query).t()).view(2, 9, 24).transpose(0, 1), wide)
    got_k = source.rotate(x @ torch.from_numpy(key.reshape(24, 24)).t(), wide)
    got = torch.einsum("hsd,td->hst", got_q, got_k) * 24 ** -0.5
    assert torch.allclose(got, want, atol=1e-9), (got - want).abs().max()


def test_rounded_weights_lie_on_the_grid_and_gptq_lowers_the_error():
    torch.manual_seed(2)
    w, x = torch.randn(16, 96) * 2.0 ** -17, torch.randn(400, 96) @ torch.randn(96, 96)
    h = x.t() @ x
    plain, best = quantise.nearest(w), quantise.gptq(w, h)
    for y in (plain, best):
        groups = y.unflatten(-1, (-1, 32))
        assert all(len(g.unique()) <= 16 for g in groups.flatten(0, 1))
    error = lambda y: float(((y - w) @ x.t()).pow(2).mean())
    assert error(best) < 0.8 * error(plain)
    assert torch.equal(quantise.nearest(plain), plain)


def test_the_gradient_passes_the_rounding_and_the_forward_is_rounded():
    torch.manual_seed(3)
    x, w, a, b = torch.randn(7, 64), torch.randn(16, 64), torch.randn(4, 64) * 0.1, torch.randn(16, 4) * 0.1
    grads = []
    for through in (True, False):
        z, p, q = (t.clone().requires_grad_(True) for t in (x, a, b))
        rounded = rounding.nearest((w + q @ p).detach())
        full = w + q @ p
        y = rounding.straight_through(z, rounded, p, q) if through else z @ (full + (rounded - full).detach()).t()
        y.square().sum().backward()
        assert torch.allclose(y, x @ rounded.t(), atol=1e-5)
        grads.append((z.grad, p.grad, q.grad))
    for g, h in zip(*grads):
        assert torch.allclose(g, h, rtol=1e-4, atol=1e-3)


def test_trained_scales_and_offsets_stay_on_the_grid():
    torch.manual_seed(4)
    x = torch.randn(400, 96)
    for w in (torch.randn(48, 96), torch.randn(48, 96) * 0.01 + 0.3):
        w = quantise.gptq(w, x.t() @ x)
        g = rounding.Grid.of(w)
        assert torch.equal(g.weights(), w)
        (x @ g.weights().t()).square().mean().backward()
        assert all((g.moved.grad[..., i] != 0).float().mean() > 0.9 for i in (0, 1))
        with torch.no_grad():
            g.moved += torch.randn_like(g.moved) * 0.3
            y = g.weights()
        assert not torch.equal(y, w) and torch.equal(rounding.nearest(y), y)
        assert torch.equal(rounding.nearest(y * adapter.TINY), y * adapter.TINY)
        again = rounding.Grid(g.quants.byte(), *(z.detach().half() for z in g.numbers()))
        assert torch.equal(again.weights(), y)


def test_the_mean_of_adapters_keeps_the_quants_and_refuses_others():
    import os
    import tempfile
    from safetensors.torch import save_file
    import mean
    with tempfile.TemporaryDirectory() as d:
        paths = [os.path.join(d, x) for x in "abc"]
        quants = torch.tensor([0, 15, 3], dtype=torch.uint8)
        for path, scale, q in zip(paths, (1.0, 2.0, 3.0), (quants, quants, quants.flip(0))):
            save_file({"m.quants": q.contiguous(), "m.scale": torch.tensor([scale]).half()}, path, metadata={"rank": "32"})
        tensors, meta = mean.mean(paths[:2])
        assert meta == {"rank": "32"} and (tensors["m.quants"] == quants).all() and tensors["m.scale"].dtype == torch.half and float(tensors["m.scale"]) == 1.5
        try:
            mean.mean(paths)
        except ValueError as e:
            assert "m.quants" in str(e)
        else:
            raise AssertionError("adapters of other quants were averaged")


def stored(name, w):
    """A matrix as a packed folder stores it."""
    f = rounding.row_factor(w)
    g = rounding.Grid.of(rounding.nearest(w) / f)
    q = g.quants.byte()
    return {name + ".weight": (q[..., :16] | q[..., 16:] << 4).flatten(-2), name + ".weight_scale": g.scale.half(), name + ".weight_offset": g.offset.half(), name + ".weight_factor": f[:, 0]}


def test_a_part_multiplies_by_the_stored_numbers_and_its_gradient_is_theirs():
    torch.manual_seed(5)
    w, order = [torch.randn(40, 96), torch.randn(30, 96) * 1e-5], torch.randperm(70)
    t = stored("a", w[0]) | stored("b", w[1])
    want = torch.cat([packed.weights(t, n) for n in "ab"])
    assert torch.equal(want, torch.cat([rounding.nearest(x) for x in w]))
    times = torch.cat((torch.ones(40), torch.full((30,), 2.0 ** 17)))
    part = tuning.Part(t, ["a", "b"], times, order)
    full = (want * times[:, None])[order]
    assert torch.allclose(part.w[:, :70].t().float(), full, rtol=1e-2, atol=1e-2) and not part.w[:, 70:].any()
    kept = part.changed()
    assert set(kept) == {f"{n}.weight_{x}" for n in "ab" for x in ("scale", "offset")} and all(torch.equal(kept[k], t[k]) for k in kept)
    # the gradient of a loss that is linear in the weights, against differences of the loss
    x, y = torch.randn(50, 96).bfloat16(), torch.randn(50, 128).bfloat16()
    z = x.clone().requires_grad_(True)
    (tuning.Rows.apply(z, part) * y).sum().backward()
    assert torch.allclose(z.grad.float(), y.float() @ part.w.t().float(), rtol=0.02, atol=0.5)
    exact = lambda: float(((((part.quants.float() + 7.5).unflatten(0, (-1, 32)) * (s := part.scale * (1 + 0.2 * part.moved[0]))[:, None] + (part.offset + part.scale * (7.5 + part.moved[1]) - 7.5 * s)[:, None]).flatten(0, 1) * part.factor).double() * (x.double().t() @ y.double())).sum())
    for at in ((0, 1, 3), (1, 2, 60), (1, 0, 0), (0, 2, 41)):
        before = exact()
        part.moved[at] += 1.0
        slope = exact() - before
        part.moved[at] -= 1.0
        assert abs(slope - float(part.moved.grad[at])) < 0.02 * abs(slope) + 0.02 * float(part.moved.grad.abs().mean()), (at, slope, float(part.moved.grad[at]))


def test_attention_and_norm_have_the_gradients_of_their_formulas():
    torch.manual_seed(6)

    class Shape:
        heads, nope, rope, dv, rank = 6, 2, 8, 4, 12
    n, width = 9, 10
    copied = torch.tensor([8, 9]), torch.arange(8).view(2, 4)
    turned = torch.outer(torch.cat((torch.arange(5), torch.arange(4))).double(), 10.0 ** -torch.arange(4).double()).float()
    y = torch.randn(n, 6 * width + 12 + 8).bfloat16().float()

    def plain(y):
        rotate = lambda z, a: torch.cat((z[..., :4] * a.cos() - z[..., 4:] * a.sin(), z[..., 4:] * a.cos() + z[..., :4] * a.sin()), -1)
        q, kv = y[:, : 6 * width].view(n, 6, width), y[:, 6 * width:]
        q = torch.cat((q[..., :2], rotate(q[..., 2:], turned[:, None])), -1).transpose(0, 1)
        k = torch.cat((kv[:, copied[0]], rotate(kv[:, 12:], turned)), -1)
        v = kv[:, copied[1].flatten()].view(n, 2, 4).transpose(0, 1).repeat_interleave(3, 0)
        out = []
        for part in (slice(0, 5), slice(5, 9)):
            m = part.stop - part.start
            s = q[:, part] @ k[part].t() * width ** -0.5 + torch.full((m, m), float("-inf")).triu_(1)
            out.append(s.softmax(-1) @ v[:, part])
        return torch.cat(out, 1).transpose(0, 1).flatten(1)
    masks = {m: torch.full((m, m), float("-inf")).bfloat16().triu_(1) for m in (4, 5)}
    a, b = y.clone().requires_grad_(True), y.bfloat16().requires_grad_(True)
    want, got = plain(a), tuning.Attention.apply(b, Shape, copied, (turned.cos().bfloat16(), turned.sin().bfloat16()), [5, 4], masks)
    g = torch.randn(n, 24)
    (want * g).sum().backward()
    (got.float() * g).sum().backward()
    close = lambda x, y: float((x - y.float()).norm() / x.norm()) < 0.02
    assert close(want.detach(), got.detach()) and close(a.grad, b.grad)
    x, w = torch.randn(7, 32), torch.rand(32)
    grads = []
    for norm in (lambda z, v: source.rms(z, v, 1e-5), lambda z, v: tuning.Norm.apply(z, v, 1e-5)):
        z, v = x.clone().requires_grad_(True), w.clone().requires_grad_(True)
        (norm(z, v).float() * x.flip(0)).sum().backward()
        grads.append((z.grad, v.grad))
    assert all(close(p, q) for p, q in zip(*grads))
    z = torch.randn(5, 16).bfloat16()
    p, q = z.float().requires_grad_(True), z.clone().requires_grad_(True)
    (torch.nn.functional.silu(p[:, :8]) * p[:, 8:]).sum().backward()
    tuning.Gated.apply(q).sum().backward()
    assert close(p.grad, q.grad)


def test_told_values_stand_in_the_text_and_are_asked_for():
    class Letters:
        encode = staticmethod(lambda s: type("Encoding", (), {"ids": [ord(x) for x in s]}))
    for seed in range(20):
        ids, at = seek.told(Letters, random.Random(seed), 6000, ["A paragraph that is not about it. " * 8 + "\n" + "Another one. " * 30])
        text, answers = "".join(map(chr, ids)), "".join(chr(ids[p + 1]) for p in at).split(cf.EOS)[:-1]
        assert 2 <= len(answers) <= 6 and abs(len(ids) - 6000) < 1000
        for a in answers:
            value = a.rstrip(".").rsplit(" is ", 1)[-1]
            assert value in text[: text.index(cf.ASSISTANT)], a


def test_the_indexer_on_its_grid_scores_as_the_stored_numbers_and_learns():
    torch.manual_seed(9)
    c, p = {"index_n_heads": 2, "index_head_dim": 64, "qk_rope_head_dim": 32, "rope_theta": 1e4}, "model.layers.0.self_attn."
    t = stored(p + "indexer.wq_b", torch.randn(128, 64) * 0.1) | stored(p + "indexer.wk", torch.randn(64, 64) * 0.1)
    t |= {p + "indexer.k_norm.weight": torch.rand(64) + 0.5, p + "indexer.k_norm.bias": torch.randn(64) * 0.1, p + "indexer.weights_proj.weight": torch.rand(2, 64)}
    x, a, pos, ang = seek.Indexer(t, c, 0), torch.randn(90, 64).bfloat16(), torch.arange(10, 90, 3), converted.angles(c, 90)
    plain = t | {f"{p}indexer.{n}.weight": packed.weights(t, f"{p}indexer.{n}") for n in ("wq_b", "wk")}
    q, k, w = converted.index_parts(plain, c, p, a.float(), a.float(), ang)
    want, got = converted.index_scores(q[pos], k, w[pos]), x.scores(a, pos, ang).detach()
    seen = torch.arange(90)[None] <= pos[:, None]
    assert float((got - want)[seen].norm() / want[seen].norm()) < 0.02 and torch.isinf(got[~seen]).all()
    assert all(torch.equal(y, t[n]) for n, y in x.changed().items()) and len(x.changed()) == 7
    target = torch.rand(len(pos), 90).pow(8).masked_fill(~seen, 0)
    first, last = x.train([(a, pos, target / target.sum(-1, keepdim=True), None)], 1, 5e-2, torch.Generator().manual_seed(1))[0], x.train([(a, pos, target / target.sum(-1, keepdim=True), None)], 40, 5e-2, torch.Generator().manual_seed(1))[1]
    assert last < 0.9 * first, (first, last)


def test_the_loss_is_cross_entropy_and_divergence_and_trains_rows_of_the_head():
    torch.manual_seed(7)

    class Head:
        row_ids, rows, head = torch.tensor([1, 4]), torch.zeros(2, 16), torch.randn(12, 16).bfloat16()
    Head.rows.grad = torch.zeros(2, 16)
    z, target, ce = torch.randn(6, 16).bfloat16(), torch.tensor([1, 4, 0, 7, 11, 4]), torch.tensor([1.0, 1, 0, 0.3, 1, 0])
    theirs = torch.randn(6, 12).log_softmax(-1)
    p, h = z.float().requires_grad_(True), Head.head.float().requires_grad_(True)
    y = (p @ h.t()).log_softmax(-1)
    want = (ce * torch.nn.functional.nll_loss(y, target, reduction="none") + (1 - ce) * (theirs.exp() * (theirs - y)).sum(-1)).mean()
    want.backward()
    q = z.clone().requires_grad_(True)
    got = tuning.Loss.apply(q, Head, target, ce, lambda rows: theirs[rows], [])
    got.backward()
    close = lambda x, y: float((x - y.float()).norm() / x.norm()) < 0.02
    assert abs(float(want.detach()) - float(got.detach())) < 0.02 and close(p.grad, q.grad) and close(h.grad[Head.row_ids], Head.rows.grad)


def test_a_copy_of_a_packed_folder_differs_in_the_changed_files_only():
    import hashlib
    import os
    import tempfile
    from safetensors.torch import save_file
    t = stored("a", torch.randn(16, 64))
    with tempfile.TemporaryDirectory() as d:
        one, two = os.path.join(d, "one"), os.path.join(d, "two")
        os.mkdir(one)
        save_file({"a.weight": t["a.weight"]}, os.path.join(one, "1.safetensors"))
        save_file({k: v for k, v in t.items() if k != "a.weight"}, os.path.join(one, "2.safetensors"))
        with open(os.path.join(one, "config.json"), "w") as f:
            json.dump({"cachalot_packing": {"shards": {"1.safetensors": {"sha256": "first"}, "2.safetensors": {"sha256": "second"}}}}, f)
        scale = t["a.weight_scale"] * 2
        packed.replace(one, two, {"a.weight_scale": scale})
        got, config = packed.read(two)
        assert torch.equal(got["a.weight_scale"], scale) and all(torch.equal(got[k], t[k]) for k in t if k != "a.weight_scale")
        shards = config["cachalot_packing"]["shards"]
        with open(os.path.join(two, "2.safetensors"), "rb") as f:
            assert shards["1.safetensors"]["sha256"] == "first" and shards["2.safetensors"]["sha256"] == hashlib.sha256(f.read()).hexdigest()
        for wrong in ({"a.weight_scale": scale.float()}, {"b.weight_scale": scale}):
            try:
                packed.replace(one, os.path.join(d, "three"), wrong)
            except SystemExit as e:
                assert list(wrong)[0] in str(e)
            else:
                raise AssertionError("a tensor of another format was written")
            shutil.rmtree(os.path.join(d, "three"))


def test_small_talk_is_answered_in_kind():
    r, thanked, greeted = random.Random(8), 0, 0
    for _ in range(4000):
        q, a = talk.small_talk(r)
        if re.search(r"\b(thanks|thank you|thx)\b", q.lower()):
            thanked += 1
            assert re.search("welcome|pleasure|The same to you", a), (q, a)
        if "are you there" in q.lower():
            greeted += 1
            assert re.search("here|works", a), (q, a)
    assert thanked > 600 and greeted > 20


def test_words_of_a_list_differ():
    r = random.Random(6)
    for _ in range(500):
        a = knowledge.lists(r)["m"][-1]["content"]
        items = re.findall(r"[A-Za-z+ ]{1,}", a)
        assert len(items) == len(set(items)), a


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, fn in list(globals().items()):
        if name.startswith("test_"):
            fn()
            print("ok", name)
