"""Which text and which random vector each noise is made from."""

from __future__ import annotations

import torch
from captioned import pictures

from ue_bench import ProtectorView
from ue_bench_methods._t2ue.prompts import TEMPLATES, exchanged, requests
from ue_bench_methods.t2ue import T2UE


class TestRequests:
    def view(self, paradigm, count=24):
        return ProtectorView(pictures(count), T2UE.access, paradigm)

    def ask(self, paradigm, granularity, z, count=24):
        return requests(self.view(paradigm, count), granularity, z, torch.Generator().manual_seed(0))

    def test_templates_are_clips_for_cifar(self):
        assert len(set(TEMPLATES)) == 18
        assert TEMPLATES[0] == "a photo of a {}." and TEMPLATES[9] == "a photo of the {}."
        assert TEMPLATES[-1] == "a photo of the big {}."

    def test_class_wise_means_one_template_and_one_vector(self):
        asked = self.ask("supervised", "class", "row")
        assert [asked.texts[text] for text in asked.text] == [
            f"a photo of a {n}." for n in ("cat", "dog", "sea_lion")
        ]
        assert asked.latent.tolist() == [0, 1, 2] and asked.rows.tolist() == [0, 1, 2] * 8

    def test_thirty_two_vectors_a_class_as_in_the_authors_code(self):
        asked = self.ask("supervised", "class", "4")
        assert (
            len(asked) == asked.latents == 12 and len(set(zip(asked.text, asked.latent, strict=True))) == 12
        )
        assert asked.rows[:15:3].tolist() == [0, 1, 2, 3, 0]  # the first class's images, in turns

    def test_templates_in_turns_as_in_the_authors_code(self):
        asked = self.ask("supervised", "image", "2", count=3 * 80)
        assert len(asked) == 3 * 2 * 18, "two vectors with each of 18 templates a class"
        first = [asked.texts[asked.text[asked.rows[3 * k]]] for k in range(6)]
        assert first == [TEMPLATES[t].format("cat") for t in (1, 1, 2, 2, 3, 3)]
        assert [int(asked.latent[asked.rows[3 * k]]) for k in range(4)] == [0, 1, 0, 1]

    def test_sample_wise_draws_a_template_for_each_image(self):
        asked = self.ask("supervised", "image", "row", count=180)
        assert len(asked) == asked.latents == 180 and len(asked.text.unique()) > 40
        names = [asked.texts[asked.text[row]].rstrip(".").split()[-1] for row in asked.rows]
        assert names == ["cat", "dog", "sea_lion"] * 60

    def test_shared_vectors_make_equal_texts_equal_noises(self):
        assert self.ask("contrastive", "pair", "shared").latents == 1
        assert len(self.ask("supervised", "image", "shared", count=600)) == 3 * 18
        assert self.ask("contrastive", "pair", "16").latent.max() == 15

    def test_pairs_have_their_own_captions_and_images_their_first(self):
        pair, image = self.ask("contrastive", "pair", "row"), self.ask("contrastive", "image", "row")
        captions = pictures().captions
        assert [pair.texts[pair.text[row]] for row in pair.rows] == [t for texts in captions for t in texts]
        assert [image.texts[image.text[row]] for row in image.rows] == [
            texts[0] for texts in captions for _ in texts
        ]

    def test_shuffled_names_give_each_class_another_ones(self):
        asked = requests(self.view("supervised"), "class", "row", torch.Generator(), shuffled=0)
        own = [f"a photo of a {name}." for name in ("cat", "dog", "sea_lion")]
        given = [asked.texts[text] for text in asked.text]
        assert sorted(given) == sorted(own) and all(a != b for a, b in zip(given, own, strict=True))
        plain = self.ask("supervised", "class", "row")
        assert asked.latent.equal(plain.latent) and asked.rows.equal(plain.rows)


def test_every_text_moves_and_the_seed_says_where():
    texts = tuple("abcdefgh")
    moved = exchanged(texts, 3)
    assert sorted(moved) == list(texts) and all(a != b for a, b in zip(moved, texts, strict=True))
    assert moved == exchanged(texts, 3) and moved != exchanged(texts, 4)
    circle = torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist()
    first, second, third = circle
    assert [exchanged(("a", "b", "c"), 0)[place] for place in circle] == [
        "abc"[place] for place in (second, third, first)
    ]
