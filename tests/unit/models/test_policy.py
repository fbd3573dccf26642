"""Loading the model that is trained: what would spoil a run is refused, and nothing in it is random."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import make_model
from prospect.config import Config, load_config
from prospect.data.batch import Row, collate
from prospect.errors import ConfigError, ModelError
from prospect.models.loading import (
    load_model_config,
    load_tokenizer,
    resolve_max_length,
    weights_identity,
)
from prospect.models.policy import Policy, load_for_scoring, load_policy
from prospect.models.reference import AdapterOffReference, FrozenReference, check_identity
from tolerances import BACKWARD, FORWARD, assert_near, rounding

LORA = {"r": 2, "alpha": 4}
BATCH = collate(
    [
        Row(np.array([0, 7, 9], np.int32), np.array([11, 12, 1], np.int32), "p", "a", True),
        Row(np.array([0, 20], np.int32), np.array([21], np.int32), "q", "b", False),
    ]
)


def config_of(path: Path | str, *overrides: str, **model: Any) -> Config:
    return load_config(
        {"model": {"name_or_path": str(path), **model}, "data": {"train": "x"}, "output": "run"}, overrides
    )


def policy_of(path: Path | str, *overrides: str, **model: Any) -> Policy:
    return load_policy(config_of(path, *overrides, **model), tokenizer=())  # which has no tokens to add


@pytest.fixture
def copy(model_path: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder that a test may spoil."""
    return Path(shutil.copytree(model_path, tmp_path / "copy"))


# -- what is refused --


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/no-such-model", "a/b/c"])
def test_a_model_folder_that_is_not_there_is_refused_without_asking_the_hub(name: str) -> None:
    for load in (load_tokenizer, load_model_config, load_for_scoring):
        with pytest.raises(ModelError, match=f"^{name}: there is no such model folder.$"):
            load(config_of(name).model)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(ModelError, match=r"model: a file; expected a model's folder, a run directory, a \.gguf file"):
        load_tokenizer(config_of(tmp_path / "model").model)


def test_weights_that_are_missing_from_a_checkpoint_are_refused_and_not_drawn_at_random(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(
        {key: value for key, value in weights.items() if key != name}, copy / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(
        ModelError, match=rf"1 weights are missing from the checkpoint, {name} for one.*would be random"
    ):
        policy_of(copy)


def test_a_tied_head_is_not_missing(copy: Path) -> None:
    assert "lm_head.weight" not in load_file(copy / "model.safetensors")
    policy_of(copy)


def test_a_folder_without_weights_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"the model could not be loaded \(.+\).*safetensors weights"):
        policy_of(copy)


def test_an_attention_that_is_not_installed_says_what_to_set(copy: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.attn_implementation is no_such_attention: null takes"):
        policy_of(copy, attn_implementation="no_such_attention")


def test_a_folder_without_a_tokenizer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"the tokenizer could not be loaded \(.+\).*tokenizer\.save_pretrained"):
        load_tokenizer(config_of(tmp_path).model)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model_type": "no-such-family"}'])
def test_a_folder_without_a_usable_configuration_is_refused(copy: Path, content: str | None) -> None:
    (copy / "config.json").unlink()
    if content is not None:
        (copy / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"the configuration could not be loaded \(.+\).*config\.json"):
        load_model_config(config_of(copy).model)
    with pytest.raises(ModelError, match="could not be loaded"):
        policy_of(copy)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_weights_cannot_all_be_trained(model_path: Path, dtype: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"model\.dtype is {dtype} and all weights are trained.*train\.precision: bf16"
    ):
        policy_of(model_path, dtype=dtype)


def test_half_precision_weights_may_carry_an_adapter_in_float32(model_path: Path) -> None:
    policy = policy_of(model_path, dtype="bfloat16", lora=LORA)
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
    assert {p.dtype for name, p in policy.model.named_parameters() if not p.requires_grad} == {torch.bfloat16}


@pytest.mark.parametrize("targets", [["no_such_layer"], "no_such_layer"])
def test_target_modules_that_the_model_does_not_have_are_refused(model_path: Path, targets: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora\.target_modules: .*no_such_layer"):
        policy_of(model_path, lora={**LORA, "target_modules": targets})


def test_gradient_checkpointing_of_a_model_that_cannot_is_refused(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"gradient_checkpointing: LlamaForCausalLM does not support it"):
        policy_of(model_path, "train.gradient_checkpointing=true")


def test_a_longer_row_than_the_models_context_is_refused(model_path: Path) -> None:
    model_config = load_model_config(config_of(model_path).model)
    with pytest.raises(ConfigError, match=r"data\.max_length is 257 and the model reads 256 tokens at most"):
        resolve_max_length(257, model_config)
    assert resolve_max_length(256, model_config) == 256
    assert resolve_max_length(None, model_config) == 256
    model_config.max_position_embeddings = 100_000
    assert resolve_max_length(None, model_config) == 2048
    assert resolve_max_length(50_000, model_config) == 50_000


# -- what is loaded --


def test_only_the_adapter_is_trained_where_there_is_one(model_path: Path) -> None:
    whole, adapter = policy_of(model_path), policy_of(model_path, lora=LORA)
    assert len(whole.trainable()) == len(list(whole.model.parameters()))
    assert adapter.trainable()
    assert all("lora_" in name for name in adapter.trainable())
    assert not any("lm_head" in name or "embed" in name for name in adapter.trainable())
    assert adapter.identity == whole.identity  # the reference of both is the model without adapter


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_recomputes_every_layer_and_nothing_else_does(
    model_path: Path, lora: Any, checkpointing: bool
) -> None:
    policy = policy_of(model_path, f"train.gradient_checkpointing={str(checkpointing).lower()}", lora=lora)
    layers = [m for m in policy.model.modules() if type(m).__name__ == "LlamaDecoderLayer"]
    runs: list[int] = []
    for i, layer in enumerate(layers):
        # Before, not after: a recomputation stops as soon as it has what it needs, which is inside the MLP.
        layer.mlp.register_forward_pre_hook(lambda *_, i=i: runs.append(i))
    total = policy.logps(BATCH).sum()
    assert sorted(runs) == [0, 1]
    total.backward()
    assert sorted(runs) == ([0, 0, 1, 1] if checkpointing else [0, 1])
    assert all(p.grad is not None for p in policy.trainable().values())


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_gives_the_same_gradient(model_path: Path, lora: Any) -> None:
    gradients = []
    for checkpointing in ("false", "true"):
        torch.manual_seed(0)  # of the adapter's own weights
        policy = policy_of(model_path, f"train.gradient_checkpointing={checkpointing}", lora=lora)
        policy.logps(BATCH).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable().values()]))  # type: ignore[union-attr]
    assert gradients[0].norm() > 0
    assert_near(gradients[1], gradients[0], BACKWARD)


def noisy_gpt2(path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=300, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    config.bos_token_id, config.eos_token_id = 0, 1
    GPT2LMHeadModel(config).save_pretrained(path)


def noisy_opt(path: Path) -> None:
    """A family whose layers drop out by a number of their own, not by a module inside them."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        vocab_size=300,
        word_embed_proj_dim=32,
        dropout=0.5,
        attention_dropout=0.5,
        layerdrop=0.5,
        bos_token_id=0,
        eos_token_id=1,
    )
    OPTForCausalLM(config).save_pretrained(path)


@pytest.mark.parametrize("make", [noisy_gpt2, noisy_opt])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_dropout_of_the_model_is_off_so_that_policy_and_reference_start_equal(
    tmp_path: Path, make: Any, checkpointing: str
) -> None:
    make(tmp_path)
    policy = policy_of(tmp_path, f"train.gradient_checkpointing={checkpointing}")
    assert not any(m.training for m in policy.model.modules() if isinstance(m, torch.nn.Dropout))
    first = policy.logps(BATCH)
    assert torch.equal(first, policy.logps(BATCH))
    assert first.requires_grad
    check_identity(policy, FrozenReference(policy), BATCH)


def test_dropout_of_the_adapter_is_on_where_the_recipe_asks_for_it(model_path: Path) -> None:
    policy = policy_of(model_path, lora={**LORA, "dropout": 0.5})
    check_identity(policy, AdapterOffReference(policy), BATCH)  # B is zero, so its noise is nothing yet
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.fill_(0.1)
    assert not torch.equal(policy.logps(BATCH), policy.logps(BATCH))
    with policy.without_adapter():
        assert torch.equal(policy.logps(BATCH), policy.logps(BATCH))
    quiet = policy_of(model_path, lora=LORA)
    assert torch.equal(quiet.logps(BATCH), quiet.logps(BATCH))


def test_a_policy_that_is_not_its_reference_is_refused_before_the_first_step(model_path: Path) -> None:
    from prospect.errors import ReferenceMismatchError

    policy = policy_of(model_path)
    reference = FrozenReference(policy)
    check_identity(policy, reference, BATCH)
    with torch.no_grad():
        next(iter(policy.trainable().values())).add_(0.01)
    with pytest.raises(ReferenceMismatchError, match=r"must equal its reference, and row . has log-ratio"):
        check_identity(policy, reference, BATCH)


def test_identity_tells_weights_dtype_and_precision_apart_and_nothing_else(copy: Path, model_path: Path) -> None:
    same = [policy_of(path).identity for path in (copy, model_path)]
    assert same[0] == same[1]
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][3] += 1e-6
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    identities = {
        same[0],
        policy_of(copy).identity,
        policy_of(model_path, "train.precision=bf16").identity,
        policy_of(model_path, dtype="bfloat16", lora=LORA).identity,
    }
    assert len(identities) == 4


def test_identity_of_a_model_with_scalars_and_views() -> None:
    from transformers import PreTrainedConfig

    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = PreTrainedConfig()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))
            self.turned = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
            self.register_buffer("count", torch.tensor(3))

    odd, other = Odd(), Odd()
    assert weights_identity(odd, "fp32") == weights_identity(other, "fp32")
    with torch.no_grad():
        other.scale.add_(1.0)
    assert weights_identity(odd, "fp32") != weights_identity(other, "fp32")


def test_logps_are_float32_sums_over_the_completion_in_either_precision(model_path: Path) -> None:
    full = policy_of(model_path).logps(BATCH)
    half = policy_of(model_path, "train.precision=bf16").logps(BATCH)
    assert full.dtype == half.dtype == torch.float32
    assert full.shape == (2,)
    assert not torch.equal(full, half)
    # bfloat16 rounds at 2^-9, and some sixteen roundings stand one behind another: 2 % of the largest sum.
    torch.testing.assert_close(half, full, rtol=0, atol=2 * 16**0.5 * 2**-9 * float(full.detach().abs().max()))


def test_a_model_to_be_spread_stays_on_the_cpu_and_is_the_same_policy(model_path: Path) -> None:
    """It need not fit on the device where it is used: here on one that is not even there."""
    config, cuda = config_of(model_path, "train.precision=bf16"), torch.device("cuda")
    policy = load_policy(config, (), cuda, value_head=True, to_spread=True)
    assert policy.value_head is not None
    where = {p.device.type for module in (policy.model, policy.value_head) for p in module.parameters()}
    assert where == {"cpu"}
    usual = policy_of(model_path, "train.precision=bf16")
    assert (policy.identity, policy.precision) == (usual.identity, "bf16")
    policy.choose_scorer()
    assert policy.scorer is usual.scorer
    usual.working = None  # sharded weights are left to autocast
    assert torch.equal(policy.logps(BATCH), usual.logps(BATCH))


def test_saving_writes_model_tokenizer_template_and_card_whole(
    model_path: Path, tmp_path: Path, tokenizer: Any
) -> None:
    policy = load_policy(config_of(model_path), tokenizer)
    policy.save(tmp_path / "model", card="# a card")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llama"
    again = policy_of(tmp_path / "model")
    assert again.identity == policy.identity
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_identity_tells_configurations_apart() -> None:
    plain = make_model(seed=3)
    other = make_model(seed=3, rms_norm_eps=1e-3)
    again = make_model(seed=3)
    assert weights_identity(plain, "fp32") == weights_identity(again, "fp32")
    assert weights_identity(plain, "fp32") != weights_identity(other, "fp32")
    assert weights_identity(plain, "fp32") != weights_identity(plain, "bf16")


@pytest.mark.slow
def test_compiled_layers_train_to_nearly_the_same_numbers(recipe: Any, tmp_path: Path) -> None:
    """Two steps in a process of its own: what is compiled stays compiled.

    Policy, reference and samples share PyTorch's limit on how often a layer's code is compiled; past it the steps
    would run uncompiled, with no more than a warning.
    """
    import json
    import subprocess
    import sys

    script = "import json, sys, prospect, torch; torch._dynamo.config.fail_on_recompile_limit_hit = True; "
    script += "run = prospect.train(json.loads(sys.argv[1]), quiet=True); "
    script += "print(json.dumps(run.metrics()))"
    train = {"max_steps": 2, "samples": 2, "sample_tokens": 4, "batch_size": 8}

    def metrics(compiled: bool) -> list[dict[str, Any]]:
        values = recipe("kto", train={**train, "compile": compiled}, output=str(tmp_path / f"run-{compiled}"))
        run = subprocess.run(
            [sys.executable, "-c", script, json.dumps(values)], capture_output=True, text=True, check=True
        )
        return json.loads(run.stdout.splitlines()[-1])

    plain, compiled = metrics(False), metrics(True)
    assert plain[0]["rewards/margins"] == 0.0
    largest = abs(plain[0]["logps/chosen"])
    assert compiled[0]["rewards/margins"] == pytest.approx(0.0, abs=0.1 * rounding(FORWARD, largest))
    for name in ("loss", "grad_norm", "logps/chosen"):
        assert compiled[-1][name] == pytest.approx(plain[-1][name], rel=0, abs=rounding(BACKWARD, largest))


# -- settings that Transformers gets --


def test_attention_is_transformers_choice_unless_the_recipe_names_one(model_path: Path) -> None:
    plain, eager = policy_of(model_path), policy_of(model_path, attn_implementation="eager")
    assert (plain.model.config._attn_implementation, eager.model.config._attn_implementation) == ("sdpa", "eager")
    assert_near(eager.logps(BATCH), plain.logps(BATCH), FORWARD)


def test_code_that_comes_with_a_model_runs_only_where_the_recipe_names_it(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    ran = tmp_path / "ran"
    (copy / "own_llama.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(ran)!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own_llama'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((copy / "config.json").read_text())
    named = {"AutoConfig": "own_llama.OwnConfig", "AutoModelForCausalLM": "own_llama.OwnModel"}
    config |= {"model_type": "own_llama", "architectures": ["OwnModel"], "auto_map": named}
    (copy / "config.json").write_text(json.dumps(config))
    for load in (policy_of, lambda path: load_model_config(config_of(path).model)):
        with pytest.raises(ModelError, match=r"It brings code of its own.*model\.trust_remote_code: true"):
            load(copy)
    assert not ran.exists()
    policy = policy_of(copy, trust_remote_code=True)
    assert ran.exists() and type(policy.model).__name__ == "OwnModel"
    assert load_model_config(config_of(copy, trust_remote_code=True).model).model_type == "own_llama"
