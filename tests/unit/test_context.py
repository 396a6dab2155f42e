import brain_files
import numpy as np
import open_clip
import pytest
import torch
from tiny_clip import tiny_clip
from torch.nn import functional as F

from brain2clip.models.context import ContextPrompt, class_name, prompts_with_room, token_embedding
from brain2clip.settings import Classifier, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import frozen_clip
from brain2clip.training.classifier import class_embeddings, learn_context


@pytest.fixture(scope="module")
def grammar():
    return frozen_clip.load(Tower(model="local-dir:workflow/towers/grammar-vit"))


def custom_text_clip():
    """A model whose text tower is a module of its own, with padding mask and pooling at the first end token."""
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(image_size=32, patch_size=8, width=32, layers=1, head_width=8)
    text = open_clip.CLIPTextCfg(context_length=24, vocab_size=701, width=16, heads=2, layers=2, pool_type="argmax")
    return open_clip.CustomTextCLIP(embed_dim=24, vision_cfg=vision, text_cfg=text).eval()


@pytest.mark.parametrize("name", ["grammar", "custom"])
@pytest.mark.parametrize("words", ["an image of a", "a photo", "the"])
def test_the_context_of_a_real_prompt_gives_open_clips_own_embedding(grammar, name, words):
    model = grammar.model if name == "grammar" else custom_text_clip()
    names = ["striped chair", "lamp"]
    real = grammar.tokenize([f"{words} {each}." for each in names])
    m = int((grammar.tokenize([words])[0] != 0).sum()) - 2
    context = token_embedding(model)(real[0, 1 : 1 + m])
    tokens = prompts_with_room(grammar.tokenize, names, m)
    with torch.no_grad():
        assert torch.equal(ContextPrompt(model, context)(tokens), model.encode_text(real))
        other = ContextPrompt(model, context.flip(-1))(tokens)
    assert not torch.allclose(other, model.encode_text(real))


def test_the_tower_is_as_before_afterwards(grammar):
    tokens = grammar.tokenize(["lamp."])
    before = grammar.model.encode_text(tokens)
    ContextPrompt.random(grammar.model, 4)(prompts_with_room(grammar.tokenize, ["lamp"], 4))
    assert torch.equal(grammar.model.encode_text(tokens), before)
    assert not token_embedding(grammar.model)._forward_hooks


def test_a_tiny_model_of_random_weights():
    clip = tiny_clip()
    real = torch.tensor([[61, 5, 9, 30, 63, 0, 0, 0], [61, 5, 9, 12, 13, 63, 0, 0]])
    tokens = real.clone()
    tokens[:, 1:3] = real[:, 3:4]
    with torch.no_grad():
        made = ContextPrompt(clip, clip.token_embedding(torch.tensor([5, 9])))(tokens)
        assert torch.equal(made, clip.encode_text(real))


def test_only_the_context_gets_a_gradient(grammar):
    prompt = ContextPrompt.random(grammar.model, 3)
    prompt(prompts_with_room(grammar.tokenize, ["lamp", "chair"], 3)).sum().backward()
    assert prompt.context.grad.abs().sum() > 0
    assert [name for name, p in prompt.named_parameters() if p.requires_grad] == ["context"]
    assert all(p.grad is None for p in prompt.clip.parameters())


def test_prompts_have_room_behind_the_first_token(grammar):
    plain, roomy = grammar.tokenize(["chair."])[0], prompts_with_room(grammar.tokenize, ["chair"], 5)[0]
    assert roomy[0] == plain[0]
    assert torch.equal(roomy[6:], plain[1:-5])
    assert len(roomy) == len(plain)


def test_a_name_that_does_not_fit_is_refused(grammar):
    with pytest.raises(InputError, match=r"classifier.tokens: 20 .*'lamp' .* 24 tokens"):
        prompts_with_room(grammar.tokenize, ["lamp", "chair"], 20)


def test_a_foreign_text_tower_is_refused():
    with pytest.raises(InputError, match="needs a text tower of open_clip"):
        token_embedding(torch.nn.Linear(2, 2))


def test_names_of_concepts_are_words():
    assert class_name("football_helmet") == "football helmet"


def test_training_pulls_the_prompts_towards_the_responses_and_is_seeded(grammar):
    """Responses that are the embedding of another wording: only the context can bring the names there."""
    names = ["chair", "lamp", "cup", "fish", "tree", "car"]
    with torch.no_grad():
        real = F.normalize(grammar.model.encode_text(grammar.tokenize([f"a picture of a {name}." for name in names])))
    generator = torch.Generator().manual_seed(0)
    brains = real.repeat(20, 1) + 0.02 * torch.randn(120, real.shape[1], generator=generator)
    concepts = np.array(names * 20)
    settings = Classifier(kind="context", epochs=6, batch_size=24, lr=2e-2)
    scale = torch.tensor(3.0)
    before = {name: value.clone() for name, value in grammar.model.state_dict().items()}

    def loss(context):
        tokens = prompts_with_room(grammar.tokenize, names, len(context))
        classes = class_embeddings(ContextPrompt(grammar.model, context), tokens, None)
        target = torch.arange(6).repeat(20)
        return F.cross_entropy(scale.exp() * F.normalize(brains, dim=-1) @ classes.T, target).item()

    learned, again, other = (
        learn_context(grammar, brains, concepts, scale, None, settings, seed) for seed in (0, 0, 1)
    )
    torch.manual_seed(0)
    start = ContextPrompt.random(grammar.model, settings.tokens).context
    assert loss(learned) < 0.7 * loss(start)
    assert torch.equal(learned, again)
    assert not torch.equal(learned, other)
    assert all(torch.equal(before[name], value) for name, value in grammar.model.state_dict().items())


def test_the_saved_tower_of_the_other_tests_has_a_context_too(tmp_path):
    clip = frozen_clip.load(Tower(model=brain_files.save_tower(tmp_path / "tower")))
    with pytest.raises(InputError, match="8 tokens"):
        prompts_with_room(clip.tokenize, ["a very long name"], 4)
    assert ContextPrompt.random(clip.model, 2)(prompts_with_room(clip.tokenize, ["lamp"], 2)).shape == (1, 24)
