"""A tiny model, a tiny tokenizer and tiny feedback, made here: no test needs a network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: a test that would download must fail
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Models here are tiny: a second thread only waits, and on a busy machine it waits for most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from browsers import chromium as chromium
from browsers import visit as visit
from databases import Postgres, binaries, running_postgres
from servers import Answer, RawServer, Server
from upstreams import FakeUpstream

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real feedback and models beside the repository; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real feedback and models is not here")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; what needs one is skipped where none is installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with running_postgres(programs) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a test's own store is, on each of the two databases; raters' pseudonyms have a key of the tests."""
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """A server of a model that plays recordings."""
    server = FakeUpstream()
    yield server
    server.close()


@pytest.fixture
def desk(tmp_path: Path, upstream: FakeUpstream) -> Iterator[Callable[..., Any]]:
    """Makes proxies that run in front of `upstream`; all are closed at the end."""
    from serving import Desk

    desks: list[Desk] = []

    def make(keys: dict[str, tuple[str, list[str]]] | None = None, **how: Any) -> Desk:
        how.setdefault("consent", True)
        desks.append(Desk(tmp_path, how.pop("url", upstream.url), keys, **how))
        return desks[-1]

    yield make
    for one in desks:
        one.close()


@pytest.fixture
def own_losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A copy of the registry of losses, all of them loaded: what a test registers is gone after it."""
    from prospect.losses import all_losses, registry

    copy = all_losses()
    monkeypatch.setattr(registry, "_REGISTRY", copy)
    return copy


@pytest.fixture
def own_importers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for importers."""
    from prospect.feedback import importers

    monkeypatch.setattr(importers, "_REGISTRY", {one.name: one for one in importers.all_importers()})


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE of 300 pieces with start and end tokens and a chat template."""
    return make_tokenizer()


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["the quick brown fox jumps over the lazy dog, thank you very much"] * 4, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(seed: int = 0, **settings: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    values = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,  # wide enough that rows differ from one another
    }
    return LlamaForCausalLM(LlamaConfig(**(values | settings)))


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A random Llama of some 30,000 parameters, saved with its tokenizer."""
    path = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


WORDS = ["thank", "you", "very", "much", "the", "quick", "brown", "fox", "lazy", "dog", "jumps", "over"]


@pytest.fixture(scope="session")
def reader() -> tuple[Any, Any]:
    """A model with room for a judging prompt in bytes, and a tokenizer with a chat template."""
    return make_model(max_position_embeddings=4096), make_tokenizer()


@pytest.fixture(scope="session")
def scorer() -> tuple[Any, Any]:
    """A reward model with random scores, and its tokenizer."""
    from transformers import LlamaForSequenceClassification

    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<s>"
    config = make_model().config
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    torch.manual_seed(0)
    return LlamaForSequenceClassification(config), tokenizer


def thumbs(count: int, prompts: int | None = None) -> list[dict[str, Any]]:
    """Rows of thumbs with lengths and prompts that vary; row i is desirable if i is even."""
    return [
        {
            "prompt": f"number {(p := i % (prompts or count))} the " + " ".join(WORDS[: p % 5]),
            "completion": " " + " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 3 + (i * 7) % 6)),
            "label": i % 2 == 0,
        }
        for i in range(count)
    ]


def pairs(count: int) -> list[dict[str, Any]]:
    rows = thumbs(2 * count)
    return [
        {"prompt": a["prompt"], "chosen": a["completion"], "rejected": b["completion"] + " dog"}
        for a, b in zip(rows[0::2], rows[1::2], strict=True)
    ]


def rows_for(loss: str) -> list[dict[str, Any]]:
    """Feedback of the kind that a loss learns from."""
    from prospect.losses import get_loss

    kind = get_loss(loss).feedback
    if kind == "paired":
        return pairs(16)
    # An odd number of prompts, so that each of them gets both labels.
    return thumbs(36, prompts=9) if kind == "scored" else thumbs(32)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def recipe(tmp_path: Path, model_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes a small recipe: `recipe("kto", rows, train={...}, ...)` writes the rows and gives the mapping."""

    def make(
        loss: str | dict[str, Any] = "kto", rows: list[dict[str, Any]] | None = None, **sections: Any
    ) -> dict[str, Any]:
        name = loss if isinstance(loss, str) else loss["name"]
        rows = rows if rows is not None else rows_for(name)
        data = write_rows(tmp_path / "feedback.jsonl", rows)
        values: dict[str, Any] = {
            "model": {"name_or_path": str(model_path)},
            "data": {"train": str(data), "eval": None},
            "loss": {"name": loss} if isinstance(loss, str) else loss,
            "train": {"batch_size": 8, "learning_rate": 1e-3, "samples": 0, "save_every": None},
            "output": str(tmp_path / "run"),
        }
        for section, changes in sections.items():
            values[section] = {**values.get(section, {}), **changes} if isinstance(changes, dict) else changes
        return values

    return make


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny pipelines that make images, each made once."""
    from pipelines import save_pipeline

    folder = tmp_path_factory.mktemp("pipelines")

    def path(family: str) -> Path:
        made = folder / family
        return made if made.is_dir() else save_pipeline(family, made)

    return path


@pytest.fixture
def images(tmp_path: Path, pipelines: Callable[[str], Path]) -> Callable[..., dict[str, Any]]:
    """Makes a small recipe: `images("sd15", "kto", rows, train={...}, ...)` writes the rows and gives the mapping."""
    from pipelines import SIDE, image_pairs, image_rows

    def make(
        family: str, loss: str | dict[str, Any] = "kto", rows: list[dict[str, Any]] | None = None, **sections: Any
    ) -> dict[str, Any]:
        name = loss if isinstance(loss, str) else loss["name"]
        folder = tmp_path / "feedback"
        if rows is None:
            rows = image_pairs(folder, 8) if name in ("dpo", "ipo", "hinge") else image_rows(folder, 16)
        values: dict[str, Any] = {
            "model": {"name_or_path": str(pipelines(family))},
            "data": {"train": str(write_rows(folder / "feedback.jsonl", rows)), "eval": None, "resolution": SIDE},
            "loss": {"name": loss} if isinstance(loss, str) else loss,
            "train": {"batch_size": 8, "learning_rate": 1e-3, "max_steps": 3, "save_every": None, "samples": 0},
            "output": str(tmp_path / "run"),
        }
        for section, changes in sections.items():
            values[section] = {**values.get(section, {}), **changes} if isinstance(changes, dict) else changes
        return values

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers that answer by a function `(path, body) -> (status, JSON or bytes)`."""
    servers: list[Server] = []

    def start(answer: Callable[[str, dict[str, Any]], Answer]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def serve_raw() -> Iterator[Callable[..., RawServer]]:
    """Starts servers that speak to the bare connection."""
    servers: list[RawServer] = []

    def start(talk: Callable[..., None]) -> RawServer:
        servers.append(RawServer(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def write_gguf(path: Path, model: Any, tokenizer: Any) -> Path:
    """Writes a tiny Llama and a byte-level tokenizer as llama.cpp does."""
    import gguf

    config, core = model.config, json.loads(tokenizer.backend_tokenizer.to_str())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = {each["content"] for each in core["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in core["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(True)
    writer.add_chat_template(tokenizer.chat_template)
    for name, weight in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            writer.add_tensor(_gguf_name(name), _as_gguf(name, weight, config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    for ours, theirs in {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }.items():
        name = name.replace(ours, theirs)
    return name


def _as_gguf(name: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """llama.cpp interleaves the two halves of each head that are rotated together."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for layer, count in heads.items():
        if layer in name:
            return weight.reshape(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape).contiguous()
    return weight.contiguous()
