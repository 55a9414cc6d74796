"""T2UE: a generator that learns from public pairs, and noise from text alone."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
import torch
from captioned import build_victim, make_context, pictures
from torch.nn import functional

from ue_bench import Access, Budget, Context, ProtectorView
from ue_bench.errors import AccessError, ConfigError, DataError
from ue_bench.registry import Registry
from ue_bench.training.towers import trim
from ue_bench_methods._t2ue.generator import SSAGAN, load_generator
from ue_bench_methods._t2ue.public import frozen, restore_text_tower, text_features, text_tower
from ue_bench_methods.t2ue import T2UE

SMOKE = T2UE(**{**T2UE.presets["smoke"], "filters": 4, "public_images": 32})


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, torch.Tensor], Context]:
    """What the smallest method prepares, and in which context: once for all tests."""
    context = make_context()
    return dict(SMOKE.prepare(context)), context


@pytest.fixture(scope="module")
def prepared(trained) -> dict[str, torch.Tensor]:
    """The same with a generator that listens to texts as if it had been trained for long."""
    generator = torch.Generator().manual_seed(0)
    tensors = dict(trained[0])
    for name, value in tensors.items():
        if name.endswith("strength") or "gain.2" in name or "shift.2" in name:
            tensors[name] = 0.5 * torch.randn(value.shape, generator=generator)
    return tensors


def protect(prepared, method=SMOKE, data=None, paradigm="contrastive", seed=1, access=T2UE.access):
    context = make_context(seed, prepared=prepared)
    return method.protect(ProtectorView(data or pictures(), access, paradigm), context)


def with_fields(**changes) -> T2UE:
    return dataclasses.replace(SMOKE, **changes)


def test_a_snapshot_makes_its_own_noise(prepared):
    early = {
        f"snapshot.1.{name.removeprefix('generator.')}": 2 * value
        for name, value in prepared.items()
        if name.startswith("generator.") and value.is_floating_point()
    }
    early |= {
        f"snapshot.1.{name.removeprefix('generator.')}": value
        for name, value in prepared.items()
        if name.startswith("generator.") and not value.is_floating_point()
    }
    method = with_fields(snapshots=(1,), checkpoint=1)
    assert not torch.equal(protect(prepared | early, method).noise, protect(prepared).noise)
    same = {name.replace("generator.", "snapshot.1."): value for name, value in prepared.items()}
    assert torch.equal(protect(prepared | same, method).noise, protect(prepared).noise)
    with pytest.raises(ConfigError, match="none of its snapshots"):
        with_fields(checkpoint=7)


class TestText:
    def test_no_image_is_read(self, prepared):
        data = pictures()
        black = dataclasses.replace(data, images=torch.zeros_like(data.images), _memo={})
        for paradigm in ("contrastive", "supervised"):
            for granularity in T2UE.granularities:
                method = with_fields(granularity=granularity)
                seen, unseen = (protect(prepared, method, d, paradigm) for d in (data, black))
                assert torch.equal(seen.noise, unseen.noise) and torch.equal(seen.rows, unseen.rows)
        assert Access.IMAGES not in T2UE.access
        with pytest.raises(AccessError, match="images"):
            _ = ProtectorView(data, T2UE.access, "contrastive").images

    @pytest.mark.parametrize("granularity", T2UE.granularities)
    def test_what_it_reads_has_to_be_declared(self, prepared, granularity):
        for paradigm in ("contrastive", "supervised"):
            with pytest.raises(AccessError):
                protect(
                    prepared, with_fields(granularity=granularity), paradigm=paradigm, access=Access.NOTHING
                )

    def test_captions_stay_hidden_in_supervised_runs(self, prepared):
        data = dataclasses.replace(pictures(), captions=None, _memo={})
        noise = protect(prepared, with_fields(granularity="image"), data, "supervised")
        assert noise.rows.unique().numel() == len(data)

    def test_noise_follows_the_caption(self, prepared):
        data = pictures()
        other = dataclasses.replace(data, captions=(("something else",), *data.captions[1:]), _memo={})
        one, two = (protect(prepared, with_fields(granularity="image"), d).noise for d in (data, other))
        assert not torch.equal(one[0], two[0]) and torch.equal(one[1:], two[1:])


class TestNoise:
    @pytest.mark.parametrize(
        ("paradigm", "granularity", "count"),
        [
            ("contrastive", "pair", 48),
            ("contrastive", "image", 24),
            ("contrastive", "class", 3),
            ("supervised", "pair", 24),
            ("supervised", "image", 24),
            ("supervised", "class", 3),
        ],
    )
    def test_one_noise_for_each(self, prepared, paradigm, granularity, count):
        data = pictures()
        noise = protect(prepared, with_fields(granularity=granularity), data, paradigm)
        view = ProtectorView(data, Access.LABELS, paradigm)
        noise.check(len(view), (32, 32))
        assert noise.noise.dtype == torch.int8 and len(noise.noise) == count == len(noise.noise.unique(dim=0))
        wanted = view.rows(granularity)
        assert len(set(zip(wanted.tolist(), noise.rows.tolist(), strict=True))) == count

    def test_it_repeats(self, prepared):
        one, two, three = (protect(prepared, seed=seed).noise for seed in (3, 3, 4))
        assert torch.equal(one, two) and not torch.equal(one, three)

    def test_a_row_does_not_depend_on_how_many_follow(self, prepared):
        few, many = pictures(count=5), pictures(count=24)
        method = with_fields(granularity="image")
        same = dataclasses.replace(many, captions=(*few.captions, *many.captions[5:]), _memo={})
        assert torch.equal(protect(prepared, method, few).noise, protect(prepared, method, same).noise[:5])

    def test_chunks_make_no_difference(self, prepared, monkeypatch):
        whole = protect(prepared).noise
        monkeypatch.setattr("ue_bench_methods.t2ue.PIXELS_AT_ONCE", {"cpu": 32 * 32 * 5})
        assert int((whole.int() - protect(prepared).noise.int()).abs().max()) <= 1
        assert float((whole == protect(prepared).noise).float().mean()) > 0.999

    def test_it_is_resized_to_the_nearest(self, prepared):
        small, large = (protect(prepared, data=pictures(size=size)).noise for size in (16, 32))
        assert torch.equal(small, large[:, :, ::2, ::2])

    def test_clamp_is_stronger_than_scale(self, prepared):
        scaled, clamped = (protect(prepared, with_fields(bound=bound)).noise for bound in ("scale", "clamp"))
        assert int(clamped.abs().max()) <= 8
        assert float(clamped.float().abs().mean()) > float(scaled.float().abs().mean())


class TestSurrogate:
    def test_features_are_the_text_towers_own(self):
        towers = frozen(build_victim("", 0, (32, 32), 1))
        captions = [f"word {n} " * (1 + n % 3) for n in range(300)]
        found = text_features(towers, captions)
        whole = towers.encode_text(trim(towers.tokenize(captions)))
        assert torch.allclose(functional.normalize(found, dim=1), whole, atol=1e-5)
        assert not torch.allclose(found.norm(dim=1), torch.ones(300), atol=0.05), "their length stays"

    def test_the_text_tower_travels_with_the_generator(self, prepared):
        kept = {name.removeprefix("text.") for name in prepared if name.startswith("text.")}
        assert kept == set(text_tower(build_victim("", 0, (32, 32), 5)))
        assert not any("visual" in name for name in prepared)

    def test_another_ones_text_tower_is_refused(self, prepared):
        with pytest.raises(ConfigError, match="another model"):
            restore_text_tower(build_victim("", 0, (32, 32), 1), {"clip.text.x": torch.zeros(1)})

    def test_weights_reach_the_victim(self):
        asked = []

        def build(name, classes, image_size, seed, parameters=None, start="own"):
            asked.append((name, image_size, parameters))
            return build_victim(name, classes, image_size, seed)

        for method in (T2UE(), T2UE(surrogate_checkpoint="w.pt"), SMOKE):
            context = make_context()
            context.ledger.build_victim = build
            method._surrogate().build(context)
        assert asked == [
            ("clip_vit_b_32", (224, 224), {"pretrained": "openai", "quickgelu": True}),
            ("clip_vit_b_32", (224, 224), {"checkpoint": "w.pt", "quickgelu": True}),
            ("clip_tiny", (32, 32), None),
        ]

    def test_no_victim_without_captions(self):
        context = make_context()
        context.ledger.build_victim = lambda *words: torch.nn.Linear(1, 1)
        with pytest.raises(ConfigError, match="contrastive victim"):
            SMOKE.prepare(context)

    def test_public_data_needs_captions(self):
        with pytest.raises(DataError, match="no captions"):
            with_fields(public="digits", public_images=0).prepare(make_context())


class TestPreparation:
    def test_the_artefact_is_a_generator(self, prepared):
        parts = {k.removeprefix("generator."): v for k, v in prepared.items() if k.startswith("generator.")}
        network = load_generator(parts)
        assert isinstance(network, SSAGAN) and network.size == 32

    def test_it_repeats(self, trained):
        again = SMOKE.prepare(make_context())
        assert all(torch.equal(trained[0][name], value) for name, value in again.items())

    def test_notes(self, trained):
        prepared, context = trained
        notes = context.notes
        assert [len(notes[f"{name}_by_epoch"]) for name in ("generator_loss", "text_sensitivity_steps")] == [
            2,
            2,
        ]
        assert notes["generator_learning_rate_by_epoch"][0] == 1e-3
        weights = sum(
            v.numel()
            for k, v in prepared.items()
            if k.startswith("generator.") and not re.search("running|num_", k)
        )
        assert notes["generator_parameters"] == weights
        ((facts, data),) = context.ledger.public
        assert facts["dataset"] == "shapes" and facts["train_images"] == 32 == len(data)

    def test_a_generator_that_does_not_listen_is_told(self):
        context = make_context()
        with_fields(learning_rate=1e-12, epochs=1).prepare(context)
        assert any("hardly uses the text" in line for line in context.ledger.warnings)

    def test_noise_that_helps_nothing_is_told(self):
        context = make_context()
        with_fields(learning_rate=1e-12, epochs=1, budget=Budget("linf", 1)).prepare(context)
        helps = context.notes["generator_loss_by_epoch"][-1] < context.notes["generator_loss_without_noise"]
        assert helps != any("does not help the surrogate" in line for line in context.ledger.warnings)


class TestSettings:
    def test_the_docstring_counts_the_weights(self):
        with torch.device("meta"):
            network = SSAGAN(512 // 8, 512, T2UE.size)
        count = sum(weight.numel() for weight in network.parameters())
        assert f"{count:,} weights" in " ".join(inspect.getdoc(T2UE).split())

    @pytest.mark.parametrize(
        ("width", "filters", "wanted"), [(512, None, 64), (1024, None, 128), (1024, 16, 16)]
    )
    def test_filters_follow_the_texts_width_unless_said(self, width, filters, wanted, monkeypatch):
        built = []

        def stop(*sizes):
            built.append(sizes)
            raise InterruptedError

        monkeypatch.setattr(
            "ue_bench_methods.t2ue.text_features", lambda towers, texts: torch.zeros(1, width)
        )
        monkeypatch.setattr("ue_bench_methods.t2ue.seeded_ssagan", stop)
        monkeypatch.setattr("ue_bench_methods._t2ue.public.Surrogate.learn", lambda *words: None)
        with pytest.raises(InterruptedError):
            with_fields(filters=filters).prepare(make_context())
        assert built[0][:2] == (wanted, width)

    def test_names_in_the_papers_tables(self):
        assert T2UE().published_names == ("T2UE", "T2UE(ViT/B-32)")
        assert T2UE(surrogate="clip_vit_b_16").published_names == ("T2UE(ViT/B-16)",)

    @pytest.mark.parametrize("profile", T2UE.presets)
    def test_presets_name_what_exists(self, profile):
        method = T2UE(**T2UE.presets[profile])
        registry = Registry()
        assert method.surrogate in registry.names("victims") and method.public in registry.names("datasets")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"budget": Budget("l2", 1.0)},
            {"budget": Budget("linf", 200)},
            {"budget": Budget.parse("none")},
            {"size": 0, "epochs": 0},
            {"z": "some"},
            {"z": "0"},
            {"bound": "cut"},
            {"augmentation": "much"},
            {"granularity": "cluster"},
            {"batch_size": 1},
            {"filters": 0},
            {"learning_rate": 0.0},
            {"weight_decay": -1.0},
            {"public_images": -1},
            {"checkpoint_epochs": 0},
            {"size": 224},
            {"surrogate_pretrained": ""},
            {"surrogate_pretrained": "here", "surrogate_checkpoint": "x.pt"},
        ],
    )
    def test_settings_that_do_not_fit(self, wrong):
        with pytest.raises(ConfigError):
            T2UE(**wrong)


class TestAblations:
    """An untrained generator, and one that is given the names of other classes: controls, no methods."""

    def test_ids_are_as_they_were_and_the_generator_is_shared(self):
        assert "ablation" not in SMOKE.recorded() and "ablation" in T2UE.protect_only
        for ablation in ("untrained", "shuffled"):
            method = with_fields(ablation=ablation)
            assert method.recorded()["ablation"] == ablation
            assert method.is_control and not method.published_names
        assert not SMOKE.is_control and SMOKE.published_names

    def test_without_training_nothing_is_prepared_and_the_text_does_not_matter(self):
        method = with_fields(ablation="untrained", granularity="class")
        assert not method.prepares and SMOKE.prepares
        made = protect({}, method, paradigm="supervised")
        assert made.noise.float().std() > 1, (
            "a network without statistics would give noise of less than a step"
        )
        assert made.noise.abs().max() <= 8 and (made.noise > 0).any() and (made.noise < 0).any()
        assert len({tuple(row.flatten().tolist()) for row in made.noise}) == 3, "one for each class"
        again = protect({}, dataclasses.replace(method, z="shared"), paradigm="supervised").noise
        assert again[0].equal(again[1]), "one random vector and three names give one noise"

    def test_other_names_move_the_noises_of_a_generator_that_reads(self, prepared):
        """With one random vector for all, the noises are those of the names, in another order."""
        method = with_fields(granularity="class", z="shared")
        own = protect(prepared, method, paradigm="supervised").noise
        given = protect(
            prepared, dataclasses.replace(method, ablation="shuffled"), paradigm="supervised"
        ).noise
        moved = [next(k for k in range(3) if noise.equal(own[k])) for noise in given]
        assert sorted(moved) == [0, 1, 2] and all(a != b for a, b in enumerate(moved))

    def test_captions_are_exchanged_as_names_are(self):
        for paradigm in ("contrastive", "supervised"):
            assert not with_fields(ablation="shuffled").conflict(paradigm)
