"""MEM's triggers by a language model: ours, and as in the authors' code."""

from __future__ import annotations

import sys

import pytest
import torch
from paired import described, protect, small_clip
from test_mem import QUICK

from ue_bench.errors import ConfigError
from ue_bench_methods import mem
from ue_bench_methods.mem import MEM


class TestLanguageModel:
    def bert(self, folder, words: list[str]) -> str:
        """A small random BERT that knows these words."""
        transformers = pytest.importorskip("transformers")
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
        tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
        tokenizer.save_pretrained(folder)
        config = transformers.BertConfig(
            vocab_size=5 + len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=24,
        )
        torch.manual_seed(0)
        transformers.BertForMaskedLM(config).save_pretrained(folder)
        return str(folder)

    words = ("dog", "horse", "red", "blue", "there", "he", "saw", "##ing", "unbelievablywhatever", "a", "by")

    def method(self, path: str, vocabulary: str = "bert") -> MEM:
        return MEM(**QUICK | {"candidates": None, "trigger_rounds": None}, vocabulary=vocabulary, bert=path)

    def test_triggers_are_words_that_both_models_know(self, tmp_path):
        run = protect(self.method(self.bert(tmp_path, list(self.words))), described(9))
        used = {word for text in run.noise.triggers for word in text.split()}
        assert used <= {"dog", "horse", "red", "blue", "there", "he", "saw", "a", "by"} and len(used) > 1
        assert run.context.notes["surviving_triggers_percent"] == 100
        assert len(run.context.notes["trigger_loss_after_by_round"]) == 2  # all rounds

    def test_each_blank_is_filled_in_sight_of_the_words_before_it(self, tmp_path):
        from ue_bench_methods._mem.fill_mask import FillMask

        model = small_clip()
        fill = FillMask(self.bert(tmp_path, list(self.words)), model, ["a dog by", "red " * 60], 5, 3)
        seen, forward = [], fill.model.forward
        fill.model.forward = lambda **given: seen.append(given) or forward(**given)
        first = fill.first_triggers(2, 2)
        (one, two), mark = seen, 4
        assert one["input_ids"][0, :6].tolist() == [2, mark, mark, 14, 5, 15] and one["input_ids"].shape == (
            2,
            24,
        )
        assert one["attention_mask"].sum(dim=1).tolist() == [7, 24] and one["input_ids"][1, -1] == 3
        assert (
            two["input_ids"][0, 2] == mark and fill.ours[fill.theirs == two["input_ids"][0, 1]] == first[0, 0]
        )
        gradients = torch.zeros(2, 2, 16)
        gradients[:, 1] = -model.token_embedding.weight.detach()[fill.ours[0]]
        likely = fill.propose(torch.arange(2), first[:, :1], 1, 5)
        kept = fill.options(torch.arange(2), gradients)(1, first)
        scores = -(model.token_embedding(likely) @ gradients[0, 1])
        assert kept.shape == (2, 3) and torch.equal(kept, likely.gather(1, scores.topk(3, dim=1).indices))

    def test_without_the_package_or_the_folder_it_says_what_to_do(self, tmp_path, monkeypatch):
        if "transformers" not in sys.modules or sys.modules["transformers"] is not None:
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "transformers", None)
                assert "ue-bench[text]" in self.method(str(tmp_path)).unavailable()
                assert MEM().unavailable() == ""
                with pytest.raises(ConfigError, match=r"ue-bench\[text\]"):
                    protect(self.method(str(tmp_path)), described(6))
        pytest.importorskip("transformers")
        assert "nowhere" in self.method(str(tmp_path / "nowhere")).unavailable(), "told before any work"
        assert self.method(str(tmp_path)).unavailable() == ""
        with pytest.raises(ConfigError, match="nowhere"):
            protect(self.method(str(tmp_path / "nowhere")), described(6))
        with pytest.raises(ConfigError, match="no fill-mask model"):
            protect(self.method(str(tmp_path)), described(6))

    def test_the_authors_way_shows_blanks_and_takes_any_word(self, tmp_path):
        from ue_bench_methods._mem.fill_mask import FillMask

        model, chosen = small_clip(), torch.tensor([[7, 8, 9]])
        path = self.bert(tmp_path, list(self.words))
        fill = FillMask(path, model, ["a dog by"], 3, 2, official=True)
        clip = [int(model.tokenize([word])[0, 1]) for word in ("dog", "horse", "the")]
        assert fill.ours[:5].tolist() == [clip[2]] * 5, "its marks are no words"
        assert fill.ours[[5, 6, 12, 13]].tolist() == [*clip[:2], clip[2], clip[2]], (
            "nor pieces, nor long ones"
        )
        seen, scores = [], torch.zeros(1, 8, 16)
        scores[0, 2, [12, 6, 5]] = torch.tensor([3.0, 2.0, 1.0])  # at the second blank
        answer = type("Answer", (), {"logits": scores})
        fill.model.forward = lambda **given: seen.append(given["input_ids"]) or answer
        gradients = torch.zeros(1, 3, model.token_embedding.embedding_dim)
        gradients[0, 1] = -model.token_embedding.weight.detach()[clip[1]]
        found = fill.options(torch.tensor([0]), gradients)(1, chosen)
        assert seen[0].tolist() == [[2, 4, 4, 4, 14, 5, 15, 3]], "three blanks, whatever was chosen before"
        likely = torch.tensor([clip[2], clip[1], clip[0]])
        order = (model.token_embedding(likely) @ model.token_embedding.weight[clip[1]]).argsort(
            descending=True
        )
        assert found.tolist() == [likely[order[:2]].tolist()]

    def test_the_authors_way_starts_from_random_tokens_and_looks_in_every_round(self, tmp_path, monkeypatch):
        starts, first = [], mem.first_triggers
        monkeypatch.setattr(mem, "first_triggers", lambda *words: starts.append(words[3]) or first(*words))
        method = self.method(self.bert(tmp_path, list(self.words)), "bert_official")
        run = protect(method, described(9))
        assert starts == ["official"] and method.published_names == ("MEM-3(BERT)",)
        assert len(run.context.notes["trigger_loss_after_by_round"]) == 2
