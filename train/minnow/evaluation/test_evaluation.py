"""Tests of the evaluation around the checks.   python -m unittest evaluation.test_evaluation"""

import json
import os
import tempfile
import unittest

import card
from evaluate import Evaluation  # noqa: F401  (imports every part without PyTorch)

from . import chatml, held_out, prompts, report
from .results import Results


class Words:
    """A tokenizer with one id for each character."""

    class Ids:
        def __init__(self, ids):
            self.ids = ids

    def encode(self, text):
        return self.Ids([ord(c) for c in text])


def said(text):
    return {"content": text, "reasoning": None, "calls": [], "finish": "stop"}


class Prompts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.results = Results(os.path.join(self.folder.name, "results.json"))
        self.prompts = [p for p in prompts.load() if p["id"] in ("facts-1", "repetition-2")]

    def tearDown(self):
        self.folder.cleanup()

    def test_a_stopped_run_continues_and_a_changed_prompt_is_asked_again(self):
        asked = []
        answer = lambda group: [asked.append((p["id"], body["seed"])) or said("Lisbon") for body, p in group]
        prompts.answer_all(self.results, "x", self.prompts, [1, 2], answer, {})
        self.assertEqual(asked, [("facts-1", 1), ("repetition-2", 1), ("facts-1", 2)])
        again = Results(self.results.path)
        prompts.answer_all(again, "x", self.prompts, [1, 2], answer, {})
        self.assertEqual(len(asked), 3)
        prompts.answer_all(again, "x", self.prompts, [1, 2], answer, {"temperature": 0.2})
        self.assertEqual(len(asked), 5, "the prompt with a temperature of its own keeps its answer")

    def test_scores_count_the_run_at_temperature_0_for_every_seed(self):
        stored = {"facts-1": {"1": said("Lisbon"), "2": said("Madrid")}, "repetition-2": {"1": said("I am Minnow, a model.")}}
        table = prompts.scores(stored, self.prompts, [1, 2])
        self.assertEqual(table["facts"], {1: [1, 1], 2: [0, 1]})
        self.assertEqual(table["repetition"], {1: [1, 1], 2: [1, 1]})
        self.assertEqual(table["all"], {1: [2, 2], 2: [1, 2]})
        self.assertIn("| all        | 2/2    | 1/2    | 75 %  |", report.prompt_table({"answers": {"x": stored}}, self.prompts, [1, 2], "x", True))

    def test_results_of_other_weights_are_forgotten(self):
        path = os.path.join(self.folder.name, "weights")
        for content, kept in ((b"a", True), (b"a", True), (b"b", False)):
            with open(path, "wb") as f:
                f.write(content)
            self.results.set_model("x", path)
            self.assertEqual(self.results.part("loss", "x").get("row"), 1 if kept and self.results.data["loss"]["x"] else None)
            self.results.part("loss", "x")["row"] = 1


class Formats(unittest.TestCase):
    conversation = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

    def test_both_formats_count_the_same_answer_tokens(self):
        tok = Words()
        for ids, mask in (chatml.encode(tok, self.conversation, answer=False), held_out.encode_v32(tok, self.conversation)):
            answer = [i for i, m in zip(ids, mask) if m]
            self.assertEqual(len(ids), len(mask))
            self.assertEqual(answer[:5], [ord(c) for c in "Hello"])

    def test_a_schema_stands_in_the_system_prompt_of_the_source(self):
        p = {"request": {"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}}
        self.assertTrue(chatml.messages(p)[0]["content"].endswith('{"type": "json_schema", "json_schema": {"name": "x"}}'))
        self.assertEqual(len(p["request"]["messages"]), 1)

    def test_the_source_has_its_own_name_except_in_personas(self):
        named = {p["id"]: chatml.renamed(p) for p in prompts.load()}
        self.assertEqual(named["identity-1"]["checks"][0], {"has": ["SmolLM"]})
        self.assertIn("Minnow", json.dumps(named["system-2"]))

    def test_losses_are_means_over_tokens(self):
        self.assertEqual(held_out.sums([-1.0, -2.0, -4.0], [True, False, True, True]), [6.0, 2])
        self.assertEqual(held_out.mean({"0": [6.0, 2], "1": [1.0, 3]}), (1.4, 5))


class Card(unittest.TestCase):
    def test_a_field_without_a_value_is_an_error(self):
        self.assertEqual(card.fill("a {{b}}", {"b": 1}), "a 1")
        with self.assertRaises(SystemExit):
            card.fill("{{c}}", {"b": 1})

    def test_the_template_has_only_known_fields(self):
        config = dict.fromkeys("hidden_size num_hidden_layers first_k_dense_replace num_attention_heads kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim index_n_heads index_head_dim index_topk max_position_embeddings vocab_size".split(), 1)
        data = {"models": {"int4": {"program": "cachalot 1", "sha256": "0", "bytes": 1}}, "requests": {"int4": {"curl": {"content": "a\n\nb", "reasoning": "so", "seed": 1}}},
                "speed": {"int4": {"first_answer_s": 1, "prompt_tokens": 1000, "first_token_s": 1, "tokens_per_s": 80}}}
        files = {"training": "trained", "data": "data", "limits": "limits", "hidden": "hidden", "parameters": "1"}
        with open(os.path.join(os.path.dirname(card.__file__), "card.md"), encoding="utf-8") as f:
            filled = card.fill(f.read(), card.fields(data, config, "int4", files))
        self.assertIn("> a\n>\n> b", filled)
        self.assertNotIn("{{", filled)


if __name__ == "__main__":
    unittest.main()
